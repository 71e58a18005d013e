package record

import (
	"strings"
	"testing"
)

func TestAlerts(t *testing.T) {
	type alerts = map[string]struct {
		content string
		closes  bool
		remote  AlertCode // with an error of the peer
		refused AlertCode
	}
	both := alerts{
		"close_notify":         {content: "\x01\x00", closes: true},
		"close_notify, fatal":  {content: "\x02\x00", closes: true},
		"bad_record_mac":       {content: "\x02\x14", remote: BadRecordMAC},
		"unknown":              {content: "\x02\xff", remote: 255},
		"user_canceled":        {content: "\x01\x5a"},
		"one byte":             {content: "\x02", refused: DecodeError},
		"two alerts in a row":  {content: "\x01\x00\x01\x00", refused: DecodeError},
		"certificate_unknown":  {content: "\x02\x2e", remote: 46},
		"certificate_required": {content: "\x02\x74", remote: 116},
	}
	in13 := alerts{ // RFC 8446, section 6: the level does not count
		"warning":  {content: "\x01\x14", remote: BadRecordMAC},
		"no level": {content: "\x07\x14", remote: BadRecordMAC},
		"nothing":  {content: "", refused: UnexpectedMessage},
	}
	in12 := alerts{
		"warning":  {content: "\x01\x64"},
		"no level": {content: "\x07\x14", refused: DecodeError},
		"nothing":  {content: "", refused: DecodeError},
	}
	each(t, func(t *testing.T, f flavor) {
		own := in12
		if f.is13() {
			own = in13
		}
		for _, table := range []alerts{both, own} {
			for what, c := range table {
				t.Run(what, func(t *testing.T) {
					cl, sv := connect(t, f, source(1))
					_, closed, err := sv.open(cl.raw(typeAlert, []byte(c.content)...))
					if closed != c.closes {
						t.Errorf("closed: %v", closed)
					}
					switch a, is := err.(*Alert); {
					case c.refused != 0:
						refused(t, err, c.refused)
					case c.remote != 0 && (!is || !a.Remote || a.Code != c.remote):
						t.Errorf("error %v, want the peer's %v", err, c.remote)
					case c.remote == 0 && err != nil:
						t.Error(err)
					}
				})
			}
		}
	})
}

// What comes behind close_notify is not looked at; what goes out goes on.
func TestAfterCloseNotify(t *testing.T) {
	each(t, func(t *testing.T, f flavor) {
		cl, sv := connect(t, f, source(1))
		rest := []byte("anything at all")
		data, closed, err := sv.open(cl.data("data"), cl.AppendAlert(cl.c, nil, CloseNotify), rest)
		if string(data) != "data" || !closed || err != nil {
			t.Fatalf("%q, %v, %v", data, closed, err)
		}
		if o, err := sv.Open(sv.c, rest); o.Used != len(rest) || !o.Close || err != nil {
			t.Fatalf("%v, %v", o, err)
		}
		cl.wants(t, "back", sv.data("back"))
	})
}

func TestAppendAlert(t *testing.T) {
	each(t, func(t *testing.T, f flavor) {
		for _, code := range []AlertCode{CloseNotify, NoRenegotiation, InternalError} {
			cl, sv := connect(t, f, source(1))
			if f.is13() {
				cl.wants(t, "", sv.says(asks))
			}
			record := cl.AppendAlert(cl.c, []byte("front"), code)
			if again := cl.AppendAlert(cl.c, nil, InternalError); !strings.HasPrefix(string(record), "front") || len(again) > 0 || cl.Owes() {
				t.Errorf("%v: then %x is sent, owed %v", code, again, cl.Owes())
			}
			o, err := sv.Open(sv.c, record[5:])
			a, is := err.(*Alert)
			fatal := code == InternalError || code == NoRenegotiation && f.is13() // else a warning, which we ignore
			if o.Close != (code == CloseNotify) || fatal != (is && a.Remote && a.Code == code) || is != fatal {
				t.Errorf("%v: understood as %v, %v", code, o, err)
			}
		}
	})
}

// An operator learns from the text who ended it, why, and what to look at.
func TestAlertTexts(t *testing.T) {
	for want, a := range map[string]*Alert{
		"refuse a TLS record with decode_error: it is bad": refuse(DecodeError, "it is bad"),
		"the peer ended TLS with alert 200":                {Code: 200, Remote: true},
		"the peer ended TLS with unknown_ca: it does not accept our certificate; compare the CA that it trusts, the names, and its clock": {Code: 48, Remote: true},
	} {
		if got := a.Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

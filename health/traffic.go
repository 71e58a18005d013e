package health

import "time"

// traffic is the opinion of live connections about one server, by the rule of NGINX's max_fails and
// fail_timeout (ngx_stream_upstream_module, "server").
//
//	       MaxFails errors within FailTimeout            until passes
//	IN ─────────────────────────────────────▶ OUT ──────────────────────▶ ON TRIAL
//	▲                                        │ ▲ │                        │   │
//	│                        an error: longer└─┘ └──────── an error ──────┘   │
//	└─────────────────────────── a success ──────────────────────────────────┘
//
// Time is passed in; the zero value is IN with no errors.
type traffic struct {
	errors []time.Time // of the last FailTimeout while IN, oldest first, at most MaxFails
	until  time.Time   // zero: IN; in the future: OUT; otherwise ON TRIAL
}

// failed takes in one connect error.
func (f *traffic) failed(now time.Time, p Passive) {
	if !f.until.IsZero() {
		f.until = now.Add(p.FailTimeout)
		return
	}
	recent := f.errors[:0]
	for _, at := range f.errors {
		if now.Sub(at) <= p.FailTimeout {
			recent = append(recent, at)
		}
	}
	f.errors = append(recent, now)
	if len(f.errors) >= p.MaxFails {
		f.errors = nil
		f.until = now.Add(p.FailTimeout)
	}
}

// worked takes in one success. It ends a trial. While IN it wipes nothing: errors leave by their age,
// however many connects succeed between them. While OUT it comes from a connection begun earlier.
func (f *traffic) worked(now time.Time) {
	if !f.until.IsZero() && !f.out(now) {
		f.until = time.Time{}
	}
}

// out reports whether the server is to be left alone.
func (f *traffic) out(now time.Time) bool { return now.Before(f.until) }

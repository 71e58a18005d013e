// Package access says who may connect to a node, and who may publish and subscribe where: a users file as
// htpasswd -B writes it, and an ACL file in mosquitto's format.
//
//	s, err := access.Load("users", "acl", false)         // every problem at once, as FILE:LINE: what is wrong
//	outcome, user := s.Decide(access.Login{Name: name, HasName: true, Password: pw, HasPassword: true})
//	if outcome == access.MustVerify && !v.Check(s, user, pw) { // v.Run(ctx) goes on beside
//		waits := v.Submit(ctx, s, user, pw, func(o access.Outcome) { loop.Post(…) })
//	}
//	s.Rules().MayPublish(user, clientID, "plant/7/state") // for each PUBLISH: no allocation
//
// Invariants:
//
//   - A [Snapshot] and its [Rules] never change. Any goroutine may ask them; nothing that is asked waits.
//   - bcrypt runs on the goroutines of [Verifier.Run] only, a bounded number; so many logins may wait and no more.
//   - No password, and no part of a hash, is in an error or in a log. Nothing that stays in memory is a password.
//   - A name that was not proved is nobody: rules for users, and %u, hold for names that Decide returned.
//   - Wildcards, and variables, at the first level never reach topics that begin with $.
//
// # The users file
//
// A line is NAME:HASH with a hash of bcrypt ($2y$, $2a$ or $2b$) and a cost of 4 to 16. Empty lines and those that begin with #
// do not count. `htpasswd -B FILE NAME` sets a password, `htpasswd -D FILE NAME` takes a user out. Passwords
// longer than 72 bytes are refused, since bcrypt would look at the first 72 only. Files of mosquitto_passwd cannot be
// converted: their passwords have to be set again.
//
// # The ACL file
//
//	topic read news/#                  clients without a user name, until the first user line
//	user gateway                       from here to the next user line
//	topic readwrite plant/#            read: subscribe and get; write: publish; readwrite is meant without a word
//	topic deny plant/+/secret          comes before what allows
//	pattern write devices/%u/state     everybody; %u is the client's user name, %c its client identifier
//
// As with mosquitto, the lines before the first user line are not for everybody but for clients without a name. A
// rule for everybody is a pattern line, which needs no variable. First a client's own lines
// are asked, then the patterns, and the first of both that has an answer decides: a user's own line
// beats a pattern with deny. What no line allows is refused, and without an ACL file everything is allowed but
// what the node forbids itself.
//
// A variable is a level of its own. A user name or client identifier with +, # or / in it matches no
// variable, and when there is a pattern with deny for that variable the patterns give such a client nothing at all:
// it must not get round what is denied to it. %u matches nothing for a client without a name.
//
// A subscription is granted if one line with read covers all that its filter matches: plant/+/state is covered by plant/#, and #
// is not. One that goes beyond is refused in the SUBACK, where the device's log shows it, rather than granted
// to stay silent for ever, as mosquitto does. One that a line with deny concerns in part is granted, and that
// part is filtered from what is delivered ([Filtered], [Rules.MayRead]): deny means "all but this", a client that subscribes to
// plant/# must not have to know what it is not told, and a line added later must not take away the rest.
//
// # Why
//
// The formats are those that people have files in, and tools for. Where mosquitto's manual and its program differ the
// program counts; where it takes a slip in silence (a variable inside of a level, %u in a topic line) the line is refused.
//
// The answer to a PUBLISH is a walk through a tree of levels, as short as the topic and independent of how many rules there
// are: 300 ns with 20 rules for each of 10,000 users, most of it cache misses; 130 ns for one user with 5,000
// (BenchmarkMayPublish, 2-core x86 virtual machine). A list of filters would cost a comparison for each rule. All nodes of
// a user lie in one slice, so that a rule costs 119 bytes, of which 41 are the file's own.
//
// bcrypt is slow on purpose: 2 ms of a core at htpasswd's own cost of 5, 70 ms at 10. 100,000 devices that come back at once would keep two cores busy for
// minutes each time, hence the memory of logins that were right. It holds an HMAC under a key of the process over hash, name and
// password: useless to who reads it without the key, and void as soon as the hash changes. Who can read the
// memory of the process has the key as well and can guess faster than against bcrypt, hence the bounded lifetime. What was
// wrong is not remembered; guessing fills the queue, and who is known passes it by.
package access

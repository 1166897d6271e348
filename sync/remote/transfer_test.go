package remote

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"mailtwin/conflict/mail"
)

const date = `INTERNALDATE "02-Jan-2006 15:04:05 +0000"`

// whole is a FETCH response with a body.
func whole(uid int, text string) string {
	return fmt.Sprintf("* %d FETCH (UID %d FLAGS (\\Seen) %s BODY[] {%d}\r\n%s)\r\n", uid, uid, date, len(text), text)
}

// fetchTable serves a folder whose UID FETCH of a set and item gives an answer. The
// client puts FLAGS and INTERNALDATE in any order, so both are given.
func fetchTable(bodies, meta string) map[string]string {
	table := map[string]string{"SELECT": selected(2, 3, 0)}
	for _, set := range []string{"1:2", "1", "2"} {
		for _, items := range []string{"UID FLAGS INTERNALDATE", "UID INTERNALDATE FLAGS"} {
			table["UID FETCH "+set+" ("+items+" BODY.PEEK[]"] = bodies
			table["UID FETCH "+set+" ("+items+")"] = meta
		}
	}
	return table
}

func TestABodyThatEndsEarlyIsNotTaken(t *testing.T) {
	text := letter("one")
	a := open(t, scripted(t, func(s *script) {
		s.login("")
		for {
			tag, command := s.hear()
			switch {
			case strings.HasPrefix(command, "LIST"):
				s.say(`* LIST () "/" INBOX`, tag+" OK")
			case strings.HasPrefix(command, "SELECT"):
				s.raw(strings.ReplaceAll(selected(2, 3, 0), "TAG", tag) + "\r\n")
			case strings.HasPrefix(command, "STATUS"):
				s.say(tag + " OK")
			default:
				s.raw(whole(1, text))
				s.raw(whole(2, text)[:120])
				return
			}
		}
	}))
	taken := 0
	var seen error
	err := a.Fetch(t.Context(), "INBOX", 7, mail.UIDs(1, 2), func(b mail.Body) error {
		got, err := io.ReadAll(b.Reader)
		if err != nil {
			seen = err
			return err
		}
		if string(got) != text || b.Size != int64(len(text)) {
			t.Errorf("UID %d is %q", b.UID, got)
		}
		taken++
		return nil
	})
	if taken != 1 || !errors.Is(seen, io.ErrUnexpectedEOF) || !errors.Is(err, mail.ErrUnreachable) {
		t.Errorf("%d were taken; the reader said %v, Fetch %v", taken, seen, err)
	}
	if strings.Contains(err.Error(), "Hello") {
		t.Errorf("the error holds mail: %v", err)
	}
}

func TestABodyThatVisitDidNotReadMustBeThereToo(t *testing.T) {
	a := open(t, scripted(t, func(s *script) {
		s.login("")
		for {
			tag, command := s.hear()
			switch {
			case strings.HasPrefix(command, "LIST"):
				s.say(`* LIST () "/" INBOX`, tag+" OK")
			case strings.HasPrefix(command, "SELECT"):
				s.raw(strings.ReplaceAll(selected(1, 2, 0), "TAG", tag) + "\r\n")
			case strings.HasPrefix(command, "STATUS"):
				s.say(tag + " OK")
			default:
				s.raw(whole(1, letter("one"))[:120])
				return
			}
		}
	}))
	err := a.Fetch(t.Context(), "INBOX", 7, mail.UIDs(1), func(mail.Body) error { return nil })
	if !errors.Is(err, mail.ErrUnreachable) {
		t.Errorf("the error is %v", err)
	}
}

func TestAnAnswerThatWasStolenIsAskedForAgain(t *testing.T) {
	one, two := letter("one"), letter("two")
	metaTwo := "* 2 FETCH (UID 2 FLAGS (\\Answered) " + date + ")\r\nTAG OK done"
	for _, c := range []struct {
		name          string
		bodies, again string
		meta          string
	}{
		{"by a change of flags",
			"* 2 FETCH (UID 2 FLAGS (\\Flagged))\r\n" + whole(1, one) + whole(2, two) + "TAG OK done",
			whole(2, two) + "TAG OK done", metaTwo},
		{"by flags that come after the body",
			whole(1, one) + fmt.Sprintf("* 2 FETCH (UID 2 BODY[] {%d}\r\n%s FLAGS (\\Answered) %s)\r\nTAG OK done", len(two), two, date),
			fmt.Sprintf("* 2 FETCH (UID 2 BODY[] {%d}\r\n%s FLAGS (\\Answered) %s)\r\nTAG OK done", len(two), two, date), metaTwo},
		{"by a server that gives NIL at first",
			whole(1, one) + "* 2 FETCH (UID 2 FLAGS () " + date + " BODY[] NIL)\r\nTAG OK done",
			whole(2, two) + "TAG OK done", metaTwo},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := fetchTable(c.bodies, c.meta)
			for k := range table {
				if strings.HasPrefix(k, "UID FETCH 2 ") && strings.Contains(k, "BODY") {
					table[k] = c.again
				}
			}
			a := open(t, scripted(t, serve("", table)))
			got := bodies(t, a, "INBOX", 7, mail.UIDs(1, 2))
			if len(got) != 2 || got[1] != one || got[2] != two {
				t.Errorf("fetched %v", got)
			}
		})
	}
}

func TestAMessageWithoutFlagsIsNotOneWithNone(t *testing.T) {
	one := letter("one")
	bare := fmt.Sprintf("* 1 FETCH (UID 1 BODY[] {%d}\r\n%s)\r\nTAG OK done", len(one), one)
	a := open(t, scripted(t, serve("", fetchTable(bare, "* 1 FETCH (UID 1)\r\nTAG OK done"))))
	if got := bodies(t, a, "INBOX", 7, mail.UIDs(1)); len(got) != 0 {
		t.Errorf("fetched %v", got)
	}
}

func TestAServerThatTellsFlagsLateIsAskedForThemFirst(t *testing.T) {
	one := letter("one") + strings.Repeat("More of it.\r\n", 200)
	late := fmt.Sprintf("* 1 FETCH (UID 1 BODY[] {%d}\r\n%s FLAGS () %s)\r\nTAG OK done", len(one), one, date)
	a := open(t, scripted(t, serve("", fetchTable(late, "* 1 FETCH (UID 1 FLAGS () "+date+")\r\nTAG OK done"))))
	first := a.Traffic().BytesIn
	bodies(t, a, "INBOX", 7, mail.UIDs(1))
	twice := a.Traffic().BytesIn - first
	if got := bodies(t, a, "INBOX", 7, mail.UIDs(1)); got[1] != one {
		t.Errorf("fetched %v", got)
	}
	if once := a.Traffic().BytesIn - first - twice; once >= 2*int64(len(one)) {
		t.Errorf("the body came twice again: %d octets", once)
	}
}

func TestAFetchThatIsRefusedKeepsWhatCame(t *testing.T) {
	a := open(t, scripted(t, serve("", fetchTable(whole(1, letter("one"))+"TAG NO [SERVERBUG] cannot read the rest", ""))))
	taken := 0
	err := a.Fetch(t.Context(), "INBOX", 7, mail.UIDs(1, 2), func(b mail.Body) error {
		taken++
		_, err := io.Copy(io.Discard, b.Reader)
		return err
	})
	if taken != 1 || !errors.Is(err, mail.ErrRefused) {
		t.Errorf("%d were taken, the error is %v", taken, err)
	}
}

func TestManyUIDsAreAskedForInLinesThatServersTake(t *testing.T) {
	longest, lines := 0, 0
	a := open(t, scripted(t, func(s *script) {
		s.login("")
		for {
			tag, command := s.hear()
			longest = max(longest, len(command))
			switch {
			case strings.HasPrefix(command, "LIST"):
				s.say(`* LIST () "/" INBOX`)
			case strings.HasPrefix(command, "SELECT"):
				s.raw(strings.ReplaceAll(selected(9, 99999, 0), "TAG OK [READ-WRITE] done", ""))
			case strings.HasPrefix(command, "UID STORE"):
				lines++
			}
			s.say(tag + " OK done")
		}
	}))
	var uids mail.UIDSet
	for u := mail.UID(10_001); u < 30_000; u += 2 {
		uids.Add(u)
	}
	if err := a.Store(t.Context(), "INBOX", 7, uids, mail.Flags{System: mail.Seen}, mail.Flags{System: mail.Flagged}, nil); err != nil {
		t.Fatal(err)
	}
	if err := a.Fetch(t.Context(), "INBOX", 7, uids, func(mail.Body) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if longest > 8000 || lines < 10 {
		t.Errorf("%d STOREs, the longest line has %d octets", lines, longest)
	}
}

func TestAStoreWithManyAnswersEnds(t *testing.T) {
	var noise strings.Builder
	for u := 1; u <= 1000; u++ {
		fmt.Fprintf(&noise, "* %d FETCH (UID %d FLAGS (\\Seen))\r\n", u, u)
	}
	a := open(t, scripted(t, serve("", map[string]string{
		"SELECT":    selected(1000, 1001, 0),
		"UID STORE": noise.String() + noise.String() + noise.String() + "TAG OK done",
	})))
	uids := mail.UIDSet{{First: 1, Last: 1000}}
	if err := a.Store(t.Context(), "INBOX", 7, uids, mail.Flags{System: mail.Seen}, mail.Flags{System: mail.Flagged}, nil); err != nil {
		t.Error(err)
	}
}

// eachLiteral runs a test on servers that ask for literals, and on ones that take them
// unasked.
func eachLiteral(t *testing.T, test func(t *testing.T, caps string)) {
	for _, caps := range []string{"UIDPLUS", "UIDPLUS LITERAL+"} {
		t.Run(caps, func(t *testing.T) { test(t, caps) })
	}
}

// appendServer plays a server up to the literal of an APPEND, for which it has to ask
// unless plus, and tells what came then, up to the end of the connection.
func appendServer(t *testing.T, caps string, after func(s *script, tag string, size int, ask func()) bool) (Options, <-chan string) {
	got := make(chan string, 10)
	return scripted(t, func(s *script) {
		s.login(caps)
		for {
			tag, command := s.hear()
			switch {
			case strings.HasPrefix(command, "LIST"):
				s.say(`* LIST () "/" INBOX`, tag+" OK")
				continue
			case strings.HasPrefix(command, "APPEND"):
				got <- command
			default:
				s.say(tag + " OK")
				continue
			}
			size, plus := 0, ""
			fmt.Sscanf(command[strings.LastIndex(command, "{"):], "{%d%s", &size, &plus)
			ask := func() {
				if plus == "}" {
					s.say("+ go on")
				}
			}
			if after(s, tag, size, ask) {
				continue
			}
			rest, _ := io.ReadAll(s.r)
			got <- string(rest)
			return
		}
	}), got
}

func TestWhatAnUploadSends(t *testing.T) {
	eachLiteral(t, func(t *testing.T, caps string) {
		text := strings.Repeat(letter("one"), 200) // more than a buffer
		opts, got := appendServer(t, caps, func(s *script, tag string, size int, ask func()) bool {
			ask()
			sent := make([]byte, size+2)
			io.ReadFull(s.r, sent)
			if string(sent) != text+"\r\n" {
				s.t.Errorf("the server got %q", sent)
			}
			s.say(tag + " OK [APPENDUID 7 42] done")
			return true
		})
		a := open(t, opts)
		if err := a.CreateFolder(t.Context(), "Next"); err != nil { // LIST comes with the first command
			t.Fatal(err)
		}
		before := a.Traffic().RoundTrips
		flags := mail.Flags{System: mail.Seen, Keywords: mail.NewKeywords("work", `quo"ted`, "(no)")}
		uid, validity, sent, err := a.Append(t.Context(), "INBOX", flags, time.Unix(1136214245, 0), newMessage(text))
		if uid != 42 || validity != 7 || sent || err != nil {
			t.Errorf("append gives %d, %d, %v, %v", uid, validity, sent, err)
		}
		plus, trips := "", 2
		if strings.Contains(caps, "+") {
			plus, trips = "+", 1
		}
		want := fmt.Sprintf(`APPEND INBOX (\Seen work) " 2-Jan-2006 15:04:05 +0000" {%d%s}`, len(text), plus)
		if command := <-got; command != want {
			t.Errorf("the command was %q, want %q", command, want)
		}
		if n := a.Traffic().RoundTrips - before; n != trips {
			t.Errorf("%d round trips, want %d", n, trips)
		}
	})
}

func TestAnUploadWhoseSourceFailsStoresNothing(t *testing.T) {
	text := strings.Repeat(letter("one"), 2000) // more than the buffers
	for name, source := range map[string]func() *message{
		"it is shorter than announced": func() *message {
			return &message{Reader: bytes.NewReader([]byte(text[:90000])), size: int64(len(text))}
		},
		"it is longer than announced": func() *message { return &message{Reader: bytes.NewReader([]byte(text)), size: 90000} },
		"it cannot be read": func() *message {
			return &message{Reader: bytes.NewReader([]byte(text[:90000])), size: int64(len(text)), fail: mail.ErrChanged}
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachLiteral(t, func(t *testing.T, caps string) {
				opts, got := appendServer(t, caps, func(s *script, tag string, size int, ask func()) bool {
					ask()
					return false
				})
				a := open(t, opts)
				m := source()
				_, _, sent, err := a.Append(t.Context(), "INBOX", mail.Flags{}, time.Now(), m)
				if sent || !errors.Is(err, mail.ErrChanged) {
					t.Errorf("append gives %v, %v", sent, err)
				}
				<-got
				if rest := <-got; int64(len(rest)) >= m.size {
					t.Errorf("the server got %d octets of %d", len(rest), m.size)
				}
				if err := a.CreateFolder(t.Context(), "Next"); err != nil {
					t.Errorf("afterwards: %v", err)
				}
			})
		})
	}
}

func TestAnUploadWithoutAnswerMayBeStored(t *testing.T) {
	eachLiteral(t, func(t *testing.T, caps string) {
		opts, got := appendServer(t, caps, func(s *script, tag string, size int, ask func()) bool {
			ask()
			io.ReadFull(s.r, make([]byte, size+2))
			s.conn.Close()
			return false
		})
		a := open(t, opts)
		_, _, sent, err := a.Append(t.Context(), "INBOX", mail.Flags{}, time.Now(), newMessage(letter("one")))
		if !sent || !errors.Is(err, mail.ErrUnreachable) || !errors.Is(err, mail.ErrBrokeOff) {
			t.Errorf("append gives %v, %v", sent, err)
		}
		<-got
	})
}

func TestAnUploadThatIsRefused(t *testing.T) {
	for _, c := range []struct {
		code string
		want []error
	}{
		{"[OVERQUOTA] Quota \x1b[1mexceeded", []error{mail.ErrRefused, mail.ErrOverQuota}},
		{"[TRYCREATE] no such folder", []error{mail.ErrRefused, mail.ErrGone}},
		{"[LIMIT] Mail size is larger than the maximum size allowed", []error{mail.ErrRefused}},
		{"[TOOBIG] too big", []error{mail.ErrRefused}},
		{"Request is throttled. Suggested Backoff Time: 299961 milliseconds", []error{mail.ErrRefused, mail.ErrTryLater}},
	} {
		for when, caps := range map[string]string{"before the literal": "UIDPLUS", "after it": "UIDPLUS", "of one that is sent unasked": "UIDPLUS LITERAL+"} {
			t.Run(c.code[:8]+" "+when, func(t *testing.T) {
				opts, _ := appendServer(t, caps, func(s *script, tag string, size int, ask func()) bool {
					if when != "before the literal" {
						ask()
						io.ReadFull(s.r, make([]byte, size+2))
					}
					s.say(tag + " NO " + c.code)
					return true
				})
				a := open(t, opts)
				_, _, sent, err := a.Append(t.Context(), "INBOX", mail.Flags{}, time.Now(), newMessage(letter("one")))
				for _, want := range c.want {
					if !errors.Is(err, want) {
						t.Errorf("the error is %v, and not %v", err, want)
					}
				}
				if sent || errors.Is(err, mail.ErrUnreachable) || strings.Contains(fmt.Sprint(err), "\x1b") {
					t.Errorf("append gives %v, %q", sent, err)
				}
				if err := a.CreateFolder(t.Context(), "Next"); err != nil {
					t.Errorf("afterwards: %v", err)
				}
			})
		}
	}
}

func TestMoveIsNeverImitated(t *testing.T) {
	a := open(t, scripted(t, func(s *script) {
		s.login("UIDPLUS")
		for {
			tag, command := s.hear()
			switch {
			case strings.HasPrefix(command, "LIST"):
				s.say(`* LIST () "/" INBOX`, tag+" OK")
			case strings.HasPrefix(command, "SELECT"):
				s.raw(strings.ReplaceAll(selected(1, 2, 0), "TAG", tag) + "\r\n")
			case strings.HasPrefix(command, "LOGOUT"):
				s.say("* BYE", tag+" OK")
				return
			case strings.HasPrefix(command, "STATUS"):
				s.say(tag + " OK")
			default:
				s.t.Errorf("it was sent %q", command)
				s.say(tag + " OK")
			}
		}
	}))
	if _, err := a.Move(t.Context(), "INBOX", 7, 1, "Archive"); !errors.Is(err, mail.ErrRefused) {
		t.Errorf("move gives %v", err)
	}
	if err := a.Expunge(t.Context(), "INBOX", 8, mail.UIDs(1)); !errors.Is(err, mail.ErrRestarted) {
		t.Errorf("expunge under another UIDVALIDITY gives %v", err)
	}
}

func TestExpungeNeedsUIDPLUS(t *testing.T) {
	a := open(t, scripted(t, serve("", map[string]string{"SELECT": selected(1, 2, 0)})))
	if err := a.Expunge(t.Context(), "INBOX", 7, mail.UIDs(1)); !errors.Is(err, mail.ErrRefused) {
		t.Errorf("expunge gives %v", err)
	}
}

func TestWhereACopyWent(t *testing.T) {
	for _, c := range []struct {
		name, caps, answer, there string
		want                      mail.UID
		err                       error
	}{
		{"as the server says", "UIDPLUS", "TAG OK [COPYUID 9 3 57] done", "", 57, nil},
		{"nowhere: it copied nothing", "UIDPLUS", "TAG OK nothing to do", "", 0, mail.ErrGone},
		{"the server cannot tell", "", "TAG OK done", "* 1 FETCH (UID 3)\r\n", 0, nil},
		{"the server does not tell", "UIDPLUS", "TAG OK done", "* 1 FETCH (UID 3)\r\n", 0, nil},
		{"nowhere: it was not there", "", "TAG OK done", "", 0, mail.ErrGone},
		{"it is refused", "UIDPLUS", "TAG NO [OVERQUOTA] full", "", 0, mail.ErrRefused},
		{"the target is missing", "UIDPLUS", "TAG NO [TRYCREATE] what folder?", "", 0, mail.ErrGone},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := open(t, scripted(t, serve(c.caps, map[string]string{
				"SELECT":      selected(1, 4, 0),
				"UID COPY 3 ": c.answer,
				"UID FETCH 3": c.there + "TAG OK done",
			})))
			to, err := a.Copy(t.Context(), "INBOX", 7, 3, "Other")
			if to != c.want || !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
				t.Errorf("copy gives %d, %v", to, err)
			}
		})
	}
}

func TestAnAnswerThatNeverComesIsOurFaultOnlyWhenWeSaySo(t *testing.T) {
	a := open(t, scripted(t, serve("", map[string]string{
		"SELECT":    selected(1, 2, 0),
		"UID STORE": "* BYE going down for maintenance\r\nTAG BAD", // and the client drops the session
	})))
	err := a.Store(t.Context(), "INBOX", 7, mail.UIDs(1), mail.Flags{System: mail.Seen}, mail.Flags{}, nil)
	if !errors.Is(err, mail.ErrRefused) {
		t.Errorf("store gives %v", err)
	}
	if v := scanFolder(t, a, "INBOX", mail.Cursor{}, 0); a.Traffic().Connections != 2 {
		t.Errorf("after a BAD the session was used again: %+v", v.View)
	}
}

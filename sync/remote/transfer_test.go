package remote

import (
	"bytes"
	"context"
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

// uploads gives letters to Append, and collects the answers.
type uploads struct {
	texts   []string
	source  func(i int, text string) mail.Source // nil: of the whole text
	alone   int                                  // the number of one that is to be alone, from 1
	asked   int
	answers []mail.Appended
}

func (u *uploads) run(ctx context.Context, a *Account) {
	a.Append(ctx, "INBOX", func() *mail.Outgoing {
		if u.asked == len(u.texts) {
			return nil
		}
		text := u.texts[u.asked]
		u.asked++
		source := mail.Source(newMessage(text))
		if u.source != nil {
			source = u.source(u.asked, text)
		}
		return &mail.Outgoing{Source: source, Date: time.Unix(1136214245, 0), Alone: u.asked == u.alone}
	}, func(done mail.Appended) { u.answers = append(u.answers, done) })
}

// letters makes so many messages.
func letters(n int) (texts []string) {
	for i := range n {
		texts = append(texts, letter(fmt.Sprint("no ", i+1)))
	}
	return texts
}

// pipeServer plays a server with LITERAL+ that keeps its answers back: answer hears of each
// APPEND when all of it has come, with its number, and says the answers.
func pipeServer(t *testing.T, answer func(s *script, tag string, n int)) Options {
	n := 0
	opts, _ := appendServer(t, "UIDPLUS LITERAL+", func(s *script, tag string, size int, _ func()) bool {
		io.ReadFull(s.r, make([]byte, size+2))
		n++
		answer(s, tag, n)
		return true
	})
	return opts
}

// The server answers nothing until it has all of them.
func TestUploadsDoNotWaitForEachOther(t *testing.T) {
	const n = 8 // appendServer keeps no more commands
	var tags []string
	a := open(t, pipeServer(t, func(s *script, tag string, _ int) {
		if tags = append(tags, tag); len(tags) < n {
			return
		}
		for i, tag := range tags {
			s.say(fmt.Sprintf("%s OK [APPENDUID 7 %d] done", tag, 100+i))
		}
	}))
	if err := a.CreateFolder(t.Context(), "Next"); err != nil { // LIST comes with the first command
		t.Fatal(err)
	}
	before := a.Traffic().RoundTrips
	u := &uploads{texts: letters(n)}
	u.run(t.Context(), a)
	if len(u.answers) != n {
		t.Fatalf("%d answers", len(u.answers))
	}
	for i, done := range u.answers {
		if want := (mail.Appended{UID: mail.UID(100 + i), UIDValidity: 7}); done != want {
			t.Errorf("no. %d: %+v, want %+v", i+1, done, want)
		}
	}
	if n := a.Traffic().RoundTrips - before; n != 1 {
		t.Errorf("%d round trips", n)
	}
}

func TestUploadsUnderWayWhenTheConnectionBreaks(t *testing.T) {
	a := open(t, pipeServer(t, func(s *script, tag string, n int) {
		switch n {
		case 1, 2:
			s.say(fmt.Sprintf("%s OK [APPENDUID 7 %d] done", tag, n))
		case 4:
			s.conn.Close()
		}
	}))
	u := &uploads{texts: letters(4)}
	u.run(t.Context(), a)
	if len(u.answers) != 4 {
		t.Fatalf("%d answers", len(u.answers))
	}
	for i, done := range u.answers {
		switch {
		case i < 2 && (done.Err != nil || done.UID != mail.UID(i+1)):
			t.Errorf("no. %d was answered, and it says %+v", i+1, done)
		case i >= 2 && (!errors.Is(done.Err, mail.ErrBrokeOff) || !done.Sent):
			t.Errorf("no. %d may be there, and it says %+v", i+1, done)
		}
	}
}

// Before a connection is closed in the middle of a literal, what is under way has its answers.
func TestAnUploadThatFailsLeavesTheOthersTheirAnswers(t *testing.T) {
	first := make(chan string, 1)
	a := open(t, pipeServer(t, func(s *script, tag string, n int) {
		if n == 1 {
			first <- tag
			return
		}
		s.say(<-first+" OK [APPENDUID 7 1] done", tag+" OK [APPENDUID 7 2] done")
	}))
	u := &uploads{texts: letters(4), source: func(i int, text string) mail.Source {
		m := newMessage(text)
		if i == 3 {
			m.fail = mail.ErrChanged
		}
		return m
	}}
	u.run(t.Context(), a)
	if len(u.answers) != 3 || u.answers[0].UID != 1 || u.answers[1].UID != 2 || !errors.Is(u.answers[2].Err, mail.ErrChanged) || u.answers[2].Sent {
		t.Errorf("the answers are %+v", u.answers)
	}
	if u.asked != 3 {
		t.Errorf("it asked for %d", u.asked)
	}
}

// One that is refused does not keep the others, even if the session is of no more use.
func TestOneOfTheUploadsIsRefused(t *testing.T) {
	for _, how := range []string{"NO [OVERQUOTA] full", "BAD no such thing"} {
		t.Run(how, func(t *testing.T) {
			a := open(t, pipeServer(t, func(s *script, tag string, n int) {
				if n == 3 {
					s.say(tag + " " + how)
				} else {
					s.say(fmt.Sprintf("%s OK [APPENDUID 7 %d] done", tag, n))
				}
			}))
			u := &uploads{texts: letters(6), alone: 4}
			u.run(t.Context(), a)
			if len(u.answers) != 6 {
				t.Fatalf("%d answers", len(u.answers))
			}
			for i, done := range u.answers {
				if n := i + 1; (n == 3) != errors.Is(done.Err, mail.ErrRefused) || n != 3 && (done.Err != nil || done.UID != mail.UID(n)) || done.Sent {
					t.Errorf("no. %d: %+v", n, done)
				}
			}
		})
	}
}

// What broke a connection before is sent when nothing else is under way.
func TestAnUploadThatIsToBeAlone(t *testing.T) {
	var late []string
	a := open(t, pipeServer(t, func(s *script, tag string, n int) {
		s.conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := s.r.Peek(1); err == nil {
			late = append(late, fmt.Sprint(n))
		}
		s.conn.SetReadDeadline(time.Time{})
		s.say(fmt.Sprintf("%s OK [APPENDUID 7 %d] done", tag, n))
	}))
	u := &uploads{texts: letters(4), alone: 3}
	u.run(t.Context(), a)
	if len(u.answers) != 4 || u.answers[3].UID != 4 {
		t.Errorf("the answers are %+v", u.answers)
	}
	// The second one is answered before it comes, and it is before the fourth one does. The
	// first need not be.
	if got := strings.Trim(strings.Join(late, " "), "1"); got != "" {
		t.Errorf("another one followed number %s before it was answered", got)
	}
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
		uid, validity, sent, err := appendTo(t.Context(), a, "INBOX", flags, time.Unix(1136214245, 0), newMessage(text))
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
				_, _, sent, err := appendTo(t.Context(), a, "INBOX", mail.Flags{}, time.Now(), m)
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
		_, _, sent, err := appendTo(t.Context(), a, "INBOX", mail.Flags{}, time.Now(), newMessage(letter("one")))
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
				_, _, sent, err := appendTo(t.Context(), a, "INBOX", mail.Flags{}, time.Now(), newMessage(letter("one")))
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

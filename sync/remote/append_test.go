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
	got := make(chan string, 40)
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
	a.Append(ctx, func() *mail.Outgoing {
		if u.asked == len(u.texts) {
			return nil
		}
		text := u.texts[u.asked]
		u.asked++
		source := mail.Source(newMessage(text))
		if u.source != nil {
			source = u.source(u.asked, text)
		}
		return &mail.Outgoing{Folder: "INBOX", Source: source, Date: time.Unix(1136214245, 0), Alone: u.asked == u.alone}
	}, func(done mail.Appended) { u.answers = append(u.answers, done) })
}

// inOneBreath uploads so many letters, which has to take one round trip, and gives the answers.
func inOneBreath(t *testing.T, a *Account, n int) []mail.Appended {
	t.Helper()
	if err := a.CreateFolder(t.Context(), "Next"); err != nil { // LIST comes with the first command
		t.Fatal(err)
	}
	before := a.Traffic().RoundTrips
	u := &uploads{texts: letters(n)}
	u.run(t.Context(), a)
	if len(u.answers) != n {
		t.Fatalf("%d answers", len(u.answers))
	}
	if trips := a.Traffic().RoundTrips - before; trips != 1 {
		t.Errorf("%d round trips", trips)
	}
	return u.answers
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
	const n = 8
	var tags []string
	a := open(t, pipeServer(t, func(s *script, tag string, _ int) {
		if tags = append(tags, tag); len(tags) < n {
			return
		}
		for i, tag := range tags {
			s.say(fmt.Sprintf("%s OK [APPENDUID 7 %d] done", tag, 100+i))
		}
	}))
	for i, done := range inOneBreath(t, a, n) {
		if want := (mail.Appended{UID: mail.UID(100 + i), UIDValidity: 7}); done != want {
			t.Errorf("no. %d: %+v, want %+v", i+1, done, want)
		}
	}
}

// A folder that gets many messages is selected in their midst, and nothing waits for that.
func TestAFolderThatGetsManyMessagesIsSelected(t *testing.T) {
	const n = manyAppends + 4
	for _, answer := range []string{"OK [READ-WRITE] selected", "NO not now"} {
		var heard []string
		a := open(t, scripted(t, func(s *script) {
			s.login("UIDPLUS LITERAL+")
			for {
				tag, command := s.hear()
				size := 0
				switch {
				case strings.HasPrefix(command, "LIST"):
					s.say(`* LIST () "/" INBOX`, tag+" OK")
					continue
				case strings.HasPrefix(command, "APPEND"):
					fmt.Sscanf(command[strings.LastIndex(command, "{"):], "{%d+}", &size)
					io.ReadFull(s.r, make([]byte, size+2))
					heard = append(heard, fmt.Sprintf("%s OK [APPENDUID 7 %d] done", tag, 101+len(heard)))
				case strings.HasPrefix(command, "SELECT"):
					if len(heard) != manyAppends-1 {
						t.Errorf("it comes after %d messages", len(heard))
					}
					heard = append(heard, "* 3 EXISTS\r\n* OK [UIDVALIDITY 7]\r\n"+tag+" "+answer)
				default:
					s.say(tag + " OK")
					continue
				}
				if len(heard) == n+1 {
					s.say(heard...)
				}
			}
		}))
		for i, done := range inOneBreath(t, a, n) {
			if done.Err != nil {
				t.Errorf("no. %d: %v", i+1, done.Err)
			}
		}
	}
}

// ... also where the server has to be asked for each literal.
func TestAFolderThatGetsManyMessagesIsSelectedBetweenLiteralsThatAreAskedFor(t *testing.T) {
	const n = manyAppends + 4
	opts, _ := appendServer(t, "UIDPLUS", func(s *script, tag string, size int, ask func()) bool {
		ask()
		io.ReadFull(s.r, make([]byte, size+2))
		s.say(tag + " OK [APPENDUID 7 1] done")
		return true
	})
	a := open(t, opts)
	u := &uploads{texts: letters(n)}
	u.run(t.Context(), a)
	if len(u.answers) != n {
		t.Fatalf("%d answers", len(u.answers))
	}
	for i, done := range u.answers {
		if done.Err != nil {
			t.Errorf("no. %d: %v", i+1, done.Err)
		}
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

package remote

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
	"mailtwin/sync/sim/remotetest"
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

// opens answers a command by which the client comes to INBOX, which has so many messages. It
// reports false for a FETCH, which it leaves to the caller.
func (s *script) opens(messages int) bool {
	tag, command := s.hear()
	switch {
	case strings.HasPrefix(command, "UID FETCH"):
		return false
	case strings.HasPrefix(command, "LIST"):
		s.say(`* LIST () "/" INBOX`, tag+" OK")
	case strings.HasPrefix(command, "SELECT"):
		s.raw(strings.ReplaceAll(selected(messages, messages+1, 0), "TAG", tag) + "\r\n")
	default:
		s.say(tag + " OK")
	}
	return true
}

func TestABodyThatEndsEarlyIsNotTaken(t *testing.T) {
	text := letter("one")
	a := open(t, scripted(t, func(s *script) {
		s.login("")
		for {
			if s.opens(2) {
				continue
			}
			s.raw(whole(1, text))
			s.raw(whole(2, text)[:120])
			return
		}
	}))
	taken := 0
	var seen error
	err := remotetest.Fetch(t.Context(), a, "INBOX", 7, mail.UIDs(1, 2), func(b mail.Body) error {
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
	err := remotetest.Fetch(t.Context(), a, "INBOX", 7, mail.UIDs(1), func(mail.Body) error { return nil })
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
	err := remotetest.Fetch(t.Context(), a, "INBOX", 7, mail.UIDs(1, 2), func(b mail.Body) error {
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
	if err := remotetest.Store(t.Context(), a, "INBOX", 7, uids, mail.Flags{System: mail.Seen}, mail.Flags{System: mail.Flagged}, nil); err != nil {
		t.Fatal(err)
	}
	if err := remotetest.Fetch(t.Context(), a, "INBOX", 7, uids, func(mail.Body) error { return nil }); err != nil {
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
	if err := remotetest.Store(t.Context(), a, "INBOX", 7, uids, mail.Flags{System: mail.Seen}, mail.Flags{System: mail.Flagged}, nil); err != nil {
		t.Error(err)
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
	if _, err := remotetest.Move(t.Context(), a, "INBOX", 7, 1, "Archive"); !errors.Is(err, mail.ErrRefused) {
		t.Errorf("move gives %v", err)
	}
	if err := remotetest.Expunge(t.Context(), a, "INBOX", 8, mail.UIDs(1)); !errors.Is(err, mail.ErrRestarted) {
		t.Errorf("expunge under another UIDVALIDITY gives %v", err)
	}
}

func TestExpungeNeedsUIDPLUS(t *testing.T) {
	a := open(t, scripted(t, serve("", map[string]string{"SELECT": selected(1, 2, 0)})))
	if err := remotetest.Expunge(t.Context(), a, "INBOX", 7, mail.UIDs(1)); !errors.Is(err, mail.ErrRefused) {
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
	err := remotetest.Store(t.Context(), a, "INBOX", 7, mail.UIDs(1), mail.Flags{System: mail.Seen}, mail.Flags{}, nil)
	if !errors.Is(err, mail.ErrRefused) {
		t.Errorf("store gives %v", err)
	}
	if v := scanFolder(t, a, "INBOX", mail.Cursor{}, 0); a.Traffic().Connections != 2 {
		t.Errorf("after a BAD the session was used again: %+v", v.View)
	}
}

// A server that gives the rest of a message in another way than it was asked for is asked for
// the whole: nothing is made of two pieces that may not belong together.
func TestTheRestOfAMessageIsBelievedOnlyIfItFits(t *testing.T) {
	text := letter("one") + strings.Repeat("More of it.\r\n", 50)
	size := len(text)
	header := text[:strings.Index(text, "\r\n\r\n")+4]
	part := mail.Part{Validity: 7, UID: 1, Size: int64(size), Octets: 300, Tail: []byte(text[284:300]), Header: mail.HeaderOf([]byte(header))}
	section := func(name, octets string) string {
		return fmt.Sprintf("* 1 FETCH (UID 1 FLAGS (\\Seen) %s BODY[HEADER] {%d}\r\n%s %s {%d}\r\n%s)\r\nTAG OK done", date, len(header), header, name, len(octets), octets)
	}
	for _, c := range []struct {
		name, answer string
		offset       int64
		times        int // that it is asked
	}{
		{"the rest", section("BODY[]<284>", text[284:]), 300, 1},
		{"the whole, since it knows no rests", section("BODY[]", text), 0, 1},
		{"the whole, as a rest that begins at once", section("BODY[]<0>", text), 0, 1},
		{"as many octets from the beginning, as if they were the rest", section("BODY[]<284>", text[:size-284]), 0, 3},
		{"the rest, as if it were the whole", section("BODY[]", text[284:]), 0, 3},
		{"the rest from another octet on", section("BODY[]<300>", text[300:]), 0, 3},
		{"the rest of a message with another header", strings.Replace(section("BODY[]<284>", text[284:]), "Subject: one", "Subject: two", 1), 0, 3},
		{"the rest, and no header", "* 1 FETCH (UID 1 FLAGS (\\Seen) " + date + fmt.Sprintf(" BODY[]<284> {%d}\r\n%s)\r\nTAG OK done", size-284, text[284:]), 0, 3},
		{"too little", section("BODY[]<284>", text[284:size-1]), 0, 3},
		{"more than there is", section("BODY[]<284>", text[284:]+"x"), 0, 3},
		{"nothing", "* 1 FETCH (UID 1 FLAGS (\\Seen) " + date + " BODY[]<284> NIL)\r\nTAG OK done", 0, 3},
		{"an empty string", section("BODY[]<284>", ""), 0, 3},
		{"not a word", "TAG OK done", 0, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked := 0
			a := open(t, scripted(t, func(s *script) {
				s.login("")
				for {
					tag, command := s.hear()
					answer := "TAG OK"
					switch {
					case strings.HasPrefix(command, "LIST"):
						answer = "* LIST () \"/\" INBOX\r\nTAG OK"
					case strings.HasPrefix(command, "SELECT"):
						answer = selected(1, 2, 0)
					case strings.HasPrefix(command, "UID FETCH") && strings.HasSuffix(command, fmt.Sprintf("BODY.PEEK[HEADER] BODY.PEEK[]<284.%d>)", size-284+1)):
						asked++
						answer = c.answer
					case strings.HasPrefix(command, "UID FETCH") && strings.HasSuffix(command, "BODY.PEEK[])"):
						asked++
						answer = section("BODY[]", text)
					case strings.HasPrefix(command, "UID FETCH"):
						asked++
						answer = "* 1 FETCH (UID 1 FLAGS (\\Seen) " + date + ")\r\nTAG OK"
					}
					s.raw(strings.ReplaceAll(answer, "TAG", tag) + "\r\n")
				}
			}))
			visits := 0
			errs := a.Fetch(t.Context(), []mail.Wanted{{Folder: "INBOX", Validity: 7, UIDs: mail.UIDs(1), Have: map[mail.UID]mail.Part{1: part}, Visit: func(b mail.Body) error {
				visits++
				got, err := io.ReadAll(b.Reader)
				if b.Offset != c.offset || b.Size != int64(size) || string(got) != text[c.offset:] {
					t.Errorf("it gives %d octets from %d on, of %d", len(got), b.Offset, b.Size)
				}
				return err
			}}})
			if errs[0] != nil || visits != 1 || asked != c.times {
				t.Errorf("%d visits, asked %d times, %v", visits, asked, errs[0])
			}
		})
	}
}

func TestARestThatEndsEarlyIsNotTaken(t *testing.T) {
	text := letter("one") + strings.Repeat("More of it.\r\n", 50)
	header := text[:strings.Index(text, "\r\n\r\n")+4]
	part := mail.Part{Validity: 7, UID: 1, Size: int64(len(text)), Octets: 300, Tail: []byte(text[284:300]), Header: mail.HeaderOf([]byte(header))}
	for _, n := range []int{0, 10, 16, 17, 100} { // within what is there already, and after it
		a := open(t, scripted(t, func(s *script) {
			s.login("")
			for {
				if s.opens(1) {
					continue
				}
				s.raw(fmt.Sprintf("* 1 FETCH (UID 1 FLAGS () %s BODY[HEADER] {%d}\r\n%s BODY[]<284> {%d}\r\n%s", date, len(header), header, len(text)-284, text[284:284+n]))
				return
			}
		}))
		came := 0
		errs := a.Fetch(t.Context(), []mail.Wanted{{Folder: "INBOX", Validity: 7, UIDs: mail.UIDs(1), Have: map[mail.UID]mail.Part{1: part}, Visit: func(b mail.Body) error {
			got, err := io.ReadAll(b.Reader)
			if came = len(got); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("after %d octets the reader says %v", n, err)
			}
			return err
		}}})
		if !errors.Is(errs[0], mail.ErrUnreachable) || came != max(0, n-16) {
			t.Errorf("after %d octets: %d came, %v", n, came, errs[0])
		}
	}
}

// A server may answer several FETCHes in one, and say of each that it is done after the last.
func TestTheEndOfAFetchMayComeLate(t *testing.T) {
	one, two := letter("one"), letter("two")
	a := open(t, scripted(t, func(s *script) {
		s.login("")
		first := ""
		for {
			tag, command := s.hear()
			switch {
			case strings.HasPrefix(command, "LIST"):
				s.say(`* LIST () "/" INBOX`, tag+" OK")
			case strings.HasPrefix(command, "SELECT"):
				s.raw(strings.ReplaceAll(selected(2, 3, 0), "TAG", tag) + "\r\n")
			case strings.HasPrefix(command, "UID FETCH 2"):
				first = tag
			case strings.HasPrefix(command, "UID FETCH 1"):
				s.raw(whole(2, two) + whole(1, one))
				s.say(first+" OK", tag+" OK")
			default:
				s.say(tag + " OK")
			}
		}
	}))
	var order []mail.UID
	visit := func(b mail.Body) error {
		order = append(order, b.UID)
		_, err := io.Copy(io.Discard, b.Reader)
		return err
	}
	errs := a.Fetch(t.Context(), []mail.Wanted{
		{Folder: "INBOX", Validity: 7, UIDs: mail.UIDs(2), Visit: visit},
		{Folder: "INBOX", Validity: 7, UIDs: mail.UIDs(1), Visit: visit},
	})
	if errs[0] != nil || errs[1] != nil || fmt.Sprint(order) != "[2 1]" {
		t.Errorf("%v came, %v", order, errs)
	}
}

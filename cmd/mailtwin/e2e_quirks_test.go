package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"mailtwin/sync/imaptest"
	"mailtwin/sync/imaptest/dovecot"
)

// through is a story on a Dovecot that the computers see through quirks. The phone does
// not.
func through(odd func() imaptest.Quirks, opts ...dovecot.Option) func(t *testing.T) *story {
	return func(t *testing.T) *story {
		s := onDovecot(opts...)(t)
		var acted atomic.Bool
		t.Cleanup(func() {
			if !acted.Load() && !t.Failed() {
				t.Error("the server said nothing odd")
			}
		})
		between := imaptest.Between(t, s.server.Host, s.server.Port, func() imaptest.Quirks {
			q := odd()
			answer := q.Answer
			q.Answer = func(line, command string) []string {
				lines := answer(line, command)
				if len(lines) != 1 || lines[0] != line {
					acted.Store(true)
				}
				return lines
			}
			return q
		})
		s.server = &dovecot.Server{Host: between.Host, Port: between.Port, User: s.user, Password: s.server.Password}
		return s
	}
}

// says are quirks that change what the server says, all of them one after the other.
func says(edits ...func(line string) string) func() imaptest.Quirks {
	return func() imaptest.Quirks {
		return imaptest.Quirks{Answer: func(line, _ string) []string {
			for _, edit := range edits {
				line = edit(line)
			}
			if line == "" {
				return nil
			}
			return []string{line}
		}}
	}
}

// becomes changes what matches; a line that becomes "" is not said.
func becomes(pattern, with string) func(string) string {
	re := regexp.MustCompile(pattern)
	return func(line string) string { return re.ReplaceAllString(line, with) }
}

const (
	permanent = `^\* OK \[PERMANENTFLAGS \(`
	anyLine   = `.*$`
)

var (
	noUIDNext = []func(string) string{
		becomes(`^\* OK \[UIDNEXT`+anyLine, ""), becomes(`^(\* STATUS .*\(.*?) ?UIDNEXT \d+`, "$1"),
	}
	noUIDs = []func(string) string{becomes(`\[(APPENDUID|COPYUID) [^]]*\] `, "")}
	// system is what Exchange says.
	system = becomes(permanent+anyLine, `* OK [PERMANENTFLAGS (\Seen \Answered \Flagged \Deleted \Draft)] Permanent flags`)
	small  = func(line string) string {
		list := regexp.MustCompile(`(?i)(FLAGS \()([^)]*)\)`)
		return list.ReplaceAllStringFunc(line, func(flags string) string {
			words := strings.Fields(flags[strings.Index(flags, "(")+1 : len(flags)-1])
			for i, w := range words {
				if !strings.HasPrefix(w, `\`) {
					words[i] = strings.ToLower(w)
				}
			}
			return "FLAGS (" + strings.Join(words, " ") + ")"
		})
	}
	larger = func(line string) string {
		return regexp.MustCompile(`RFC822\.SIZE \d+`).ReplaceAllStringFunc(line, func(item string) string {
			n, _ := strconv.Atoi(strings.TrimPrefix(item, "RFC822.SIZE "))
			return "RFC822.SIZE " + strconv.Itoa(n+7)
		})
	}
)

// exchange takes no keyword, neither with a STORE nor with an APPEND.
func exchange() imaptest.Quirks {
	q := says(system)()
	keyword := regexp.MustCompile(`(?i)^(?:UID STORE .* [+-]?FLAGS(?:\.SILENT)?|APPEND .*?) \((?:[^)]* )?[^\\)][^)]*\)`)
	q.Refuse = func(command string) string {
		if keyword.MatchString(command) {
			return "BAD Command Argument Error. 11"
		}
		return ""
	}
	return q
}

// forgetful leaves the status of a folder out of the listing, and tells it only if asked
// for it by name.
func forgetful() imaptest.Quirks {
	said := false
	return imaptest.Quirks{Answer: func(line, _ string) []string {
		if strings.HasPrefix(line, "* STATUS Lists/go ") && !said {
			said = true
			return nil
		}
		return []string{line}
	}}
}

// secretive does not tell the status of a folder at all.
func secretive() imaptest.Quirks {
	q := says(becomes(`^\* STATUS Lists/go `+anyLine, ""))()
	q.Refuse = func(command string) string {
		if strings.HasPrefix(command, `STATUS "Lists/go"`) || strings.HasPrefix(command, "STATUS Lists/go") {
			return "NO [SERVERBUG] Internal error occurred."
		}
		return ""
	}
	return q
}

// chatty says things that nobody asked for: the flags of each message before the first
// answer about it, as if they had just changed.
func chatty() imaptest.Quirks {
	exists, told := "", map[string]bool{}
	flags := regexp.MustCompile(`^(\* \d+ FETCH) \(.*(UID \d+).*(FLAGS \([^)]*\)).*` + imaptest.Literal)
	return imaptest.Quirks{Answer: func(line, command string) []string {
		switch m := flags.FindStringSubmatch(line); {
		case strings.HasSuffix(line, " EXISTS"):
			exists = line
		case strings.HasSuffix(line, " EXPUNGE"):
			exists = ""
		case m != nil && !told[m[2]]:
			told[m[2]] = true
			return []string{m[1] + " (" + m[2] + " " + m[3] + ")", m[1] + " (" + m[3] + ")", line}
		}
		if command == "" || strings.HasPrefix(command, "SELECT") {
			return []string{line}
		}
		extra := []string{"* OK [ALERT] The disk is nearly full.", "* NO it is really full", "* 0 RECENT", line}
		if exists != "" {
			extra = append([]string{exists}, extra...)
		}
		return extra
	}}
}

// moody tells another size each time.
func moody() imaptest.Quirks {
	n := 0
	return imaptest.Quirks{Answer: func(line, _ string) []string {
		return []string{regexp.MustCompile(`RFC822\.SIZE \d+`).ReplaceAllStringFunc(line, func(item string) string {
			n++
			return item + strconv.Itoa(n%10)
		})}
	}}
}

// emptied has no mod-sequences for empty folders, as Purelymail.
func emptied() imaptest.Quirks {
	empty := false
	return imaptest.Quirks{Answer: func(line, _ string) []string {
		switch {
		case strings.HasSuffix(line, " EXISTS"):
			empty = line == "* 0 EXISTS"
		case strings.HasPrefix(line, "* STATUS ") && strings.Contains(line, "MESSAGES 0"):
			return []string{becomes(`HIGHESTMODSEQ \d+`, "HIGHESTMODSEQ 0")(line)}
		case strings.HasPrefix(line, "* OK [HIGHESTMODSEQ") && empty:
			return []string{"* OK [HIGHESTMODSEQ 0] Highest"}
		}
		return []string{line}
	}}
}

var quirks = map[string]kind{
	"whose sizes lie, each time another lie":    {start: through(moody)},
	"whose empty folders have no HIGHESTMODSEQ": {start: through(emptied)},
	"which tells no UIDVALIDITY":                {start: through(says(becomes(`^\* OK \[UIDVALIDITY`+anyLine, ""), becomes(`^(\* STATUS .*\(.*?) ?UIDVALIDITY \d+`, "$1")))},
	"of few words":                              {start: through(says(becomes(`^(\S+ OK)( \[[^]]*\])? .*`, "$1$2"), becomes(`^(\* (STATUS|LIST|SEARCH|ESEARCH|FLAGS) .*)`, "$1 ")))},
	"which lists IMAP4rev2":                     {start: through(says(becomes(`CAPABILITY IMAP4rev1`, "CAPABILITY IMAP4rev1 IMAP4rev2")))},
	"with NOMODSEQ": {start: through(says(becomes(`^\* OK \[HIGHESTMODSEQ`+anyLine, "* OK [NOMODSEQ] None"),
		becomes(`\[HIGHESTMODSEQ \d+\] `, ""), becomes(`HIGHESTMODSEQ \d+`, "HIGHESTMODSEQ 0"))), costly: true},
	"which tells no HIGHESTMODSEQ": {start: through(says(becomes(`^\* OK \[HIGHESTMODSEQ`+anyLine, ""),
		becomes(`\[HIGHESTMODSEQ \d+\] `, ""), becomes(` ?HIGHESTMODSEQ \d+`, ""))), costly: true},
	"which tells no UIDNEXT":                {start: through(says(noUIDNext...)), costly: true},
	"which tells no UIDs":                   {start: through(says(noUIDs...))},
	"which tells no UIDs, without MOVE":     {start: through(says(noUIDs...), dovecot.Hide("MOVE"))},
	"which tells no UIDs and no UIDNEXT":    {start: through(says(slices.Concat(noUIDs, noUIDNext)...)), costly: true},
	"which tells UIDs of another folder":    {start: through(says(becomes(`\[(APPENDUID|COPYUID) (\d+) `, "[$1 1$2 ")))},
	"without \\* in PERMANENTFLAGS":         {start: through(says(becomes(`(`+permanent+`.*) \\\*\)`, "$1)")))},
	"without PERMANENTFLAGS":                {start: through(says(becomes(permanent+anyLine, "")))},
	"which takes only system flags":         {start: through(exchange), fixed: true},
	"which has keywords in small letters":   {start: through(says(small))},
	"whose sizes lie":                       {start: through(says(larger))},
	"which keeps back a status":             {start: through(forgetful), costly: true},
	"which refuses a status":                {start: through(secretive), costly: true},
	"which says what nobody asked for":      {start: through(chatty)},
	"which says that, and has no CONDSTORE": {start: through(chatty, dovecot.Hide("CONDSTORE", "QRESYNC")), costly: true},
}

// TestTheSameStoryThroughQuirks: what one server or another says, or keeps to itself.
func TestTheSameStoryThroughQuirks(t *testing.T) {
	t.Parallel()
	for name, k := range quirks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k.tell(k.start(t))
		})
	}
}

// notSticky is a server whose UIDs say nothing from one session to the next (RFC 4315, 3).
func notSticky() imaptest.Quirks {
	q := says(noUIDs...)()
	answer := q.Answer
	q.Answer = func(line, command string) []string {
		lines := answer(line, command)
		if strings.HasPrefix(command, "SELECT") || strings.HasPrefix(command, "EXAMINE") {
			lines = append([]string{"* NO [UIDNOTSTICKY] Non-persistent UIDs"}, lines...)
		}
		return lines
	}
	return q
}

// TestUIDsThatDoNotLast: what is gone cannot be told from what has another number. So new
// mail and flags go both ways and nothing is doubled, but nothing is removed either: what
// one of them removed comes back, and what was moved is in both places.
func TestUIDsThatDoNotLast(t *testing.T) {
	s := through(notSticky)(t)
	laptop, desktop := s.device("laptop"), s.device("desktop")
	for _, m := range []string{"one", "two", "three", "four"} {
		s.deliver("INBOX", note(m), none)
	}
	k := kind{}
	k.settle(laptop, desktop)
	laptop.save("INBOX", "cur", "1.a.host:2,S", note("from the laptop"), then)
	laptop.reflag(laptop.find("INBOX", "one"), "S")
	desktop.reflag(desktop.find("INBOX", "one"), "F")
	s.check(s.phone.AddFlags(s.Context(), "INBOX", s.remote("INBOX", "two").UID, seen))
	s.deliver("INBOX", note("from the phone"), none)
	r := laptop.sync()
	if len(r.Skipped) != 1 || !strings.Contains(r.Skipped[0].Reason, "nothing is removed") {
		t.Errorf("it said %v", r.Skipped)
	}
	k.settle(laptop, desktop)
	s.marks("one", seen.With(flagged), seen.With(flagged), laptop, desktop)
	s.marks("two", seen, seen, laptop, desktop)
	all := []string{"four", "from the laptop", "from the phone", "one", "three", "two"}
	s.want("INBOX", s.there("INBOX"), all...)

	laptop.remove(laptop.find("INBOX", "three"))
	s.check(s.phone.Delete(s.Context(), "INBOX", s.remote("INBOX", "four").UID))
	filed := laptop.find("INBOX", "two")
	s.check(os.Rename(filed.path, filepath.Join(laptop.maildir, "Archive", "cur", filepath.Base(filed.path))))
	k.settle(laptop, desktop)
	s.want("INBOX", s.there("INBOX"), all...)
	s.want("Archive", s.there("Archive"), "two")
	s.want("Trash", s.there("Trash"))
}

// TestAServerThatShowsOnlyAPart is about Yahoo: what it does not list may be there still
// (RFC 9738). So nothing is removed for it, and that is said.
func TestAServerThatShowsOnlyAPart(t *testing.T) {
	s := through(says(becomes("CAPABILITY IMAP4rev1", "CAPABILITY IMAP4rev1 MESSAGELIMIT=1000")))(t)
	laptop, desktop := s.device("laptop"), s.device("desktop")
	for _, m := range []string{"one", "two", "three"} {
		s.deliver("INBOX", note(m), none)
	}
	kind{}.settle(laptop, desktop)
	s.check(s.phone.Delete(s.Context(), "INBOX", s.remote("INBOX", "two").UID))
	r := laptop.sync()
	laptop.did(r, counts4{}, counts4{})
	if len(r.Skipped) != 1 || r.Skipped[0].Folder != "INBOX" || !strings.HasPrefix(r.Skipped[0].Reason, "1 message ") {
		t.Errorf("it said %v", r.Skipped)
	}
	laptop.want("INBOX", laptop.subjects("INBOX"), "one", "three", "two")

	// All else goes on.
	laptop.remove(laptop.find("INBOX", "one"))
	laptop.save("INBOX", "cur", "1.a.host:2,S", note("mine"), then)
	s.deliver("INBOX", note("theirs"), flagged)
	for range 2 {
		laptop.sync()
		desktop.sync()
	}
	s.want("INBOX", s.there("INBOX"), "mine", "theirs", "three")
	s.want("Trash", s.there("Trash"), "one")
	laptop.rests()
	desktop.rests()
	desktop.want("INBOX", desktop.subjects("INBOX"), "mine", "one", "theirs", "three", "two")
	if r := laptop.sync(); r.RoundTrips > 2 {
		t.Errorf("a sync with nothing to do took %d round trips", r.RoundTrips)
	}
}

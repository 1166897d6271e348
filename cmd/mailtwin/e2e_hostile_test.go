package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unicode"

	"mailtwin/sync/imaptest"
	"mailtwin/sync/imaptest/dovecot"
)

// What a hostile server may cost.
const (
	hostileTime   = 3 * time.Minute        // many times the timeout of a second: a flood of names takes 13 s of a processor, and the tests run side by side
	hostileMemory = raceMemory * 140 << 10 // kB
)

// hostile is a server that means harm.
type hostile struct {
	quirks func() imaptest.Quirks
	codes  []int // that the sync of a device that was in step ends with; nil: 75
	// lies: what was removed may come back, and what it said of messages may be believed.
	lies bool
	// agrees: what it says agrees with itself, and so what it lists no more is removed here,
	// where it can be restored.
	agrees bool
	// fresh: a computer that is new meets it as well; with MAILTWIN_LONG=1 always.
	fresh bool
}

// once says lines in the place of the first line of the server that matches.
func once(pattern string, lines ...string) func() imaptest.Quirks {
	re := regexp.MustCompile(pattern)
	return func() imaptest.Quirks {
		done := false
		return imaptest.Quirks{Answer: func(line, _ string) []string {
			if done || !re.MatchString(line) {
				return []string{line}
			}
			done = true
			return lines
		}}
	}
}

// before says lines before each tagged line that ends such a command.
func before(command string, lines ...string) func() imaptest.Quirks {
	re := regexp.MustCompile(`^(?:` + command + `)`)
	return func() imaptest.Quirks {
		return imaptest.Quirks{Answer: func(line, ends string) []string {
			if ends == "" || !re.MatchString(ends) {
				return []string{line}
			}
			return append(slices.Clone(lines), line)
		}}
	}
}

// instead says lines in the place of each tagged line that ends such a command.
func instead(command string, lines ...string) func() imaptest.Quirks {
	re := regexp.MustCompile(`^(?:` + command + `)`)
	return func() imaptest.Quirks {
		return imaptest.Quirks{Answer: func(line, ends string) []string {
			if ends == "" || !re.MatchString(ends) {
				return []string{line}
			}
			return lines
		}}
	}
}

// each says lines in the place of each line that matches.
func each(pattern string, lines ...string) func() imaptest.Quirks {
	re := regexp.MustCompile(pattern)
	return func() imaptest.Quirks {
		return imaptest.Quirks{Answer: func(line, _ string) []string {
			if !re.MatchString(line) {
				return []string{line}
			}
			return lines
		}}
	}
}

// fine are the codes of a sync that may go well, find a folder that it leaves alone, or
// give up.
var fine = []int{exitOK, exitFailed, exitTemporary}

const (
	aBody  = `^\* \d+ FETCH .*` + imaptest.Literal
	aFetch = `^\* \d+ FETCH `
)

// hostiles are the servers of TestAHostileServer. What they say takes 60 MB: as a variable it would
// be made whenever the test's binary starts, which does so hundreds of times to be mailtwin.
func hostiles() map[string]hostile {
	return map[string]hostile{
		// What never ends.
		"a greeting of 4 GB":            {quirks: once(`.`, "* OK {4294967295}", imaptest.Silence)},
		"a greeting without end":        {quirks: once(`.`, "* OK "+strings.Repeat("x", 100), imaptest.Forever("xxxxxxxx"))},
		"greetings without end":         {quirks: once(`.`, imaptest.Forever("* OK hello\r\n"))},
		"binary noise":                  {quirks: once(`.`, imaptest.Forever("\x00\xff\x80\r\x1b]0;"))},
		"folders without end":           {quirks: before("LIST", imaptest.Forever("* LIST () \"/\" \"folder %d\"\r\n"))},
		"one folder without end":        {quirks: before("LIST", imaptest.Forever("* LIST () \"/\" INBOX\r\n"))},
		"long names without end":        {quirks: before("LIST", imaptest.Forever("* LIST () \"/\" \""+strings.Repeat("x", 500_000)+"%d\"\r\n"))},
		"names as literals without end": {quirks: before("LIST", imaptest.Forever("* LIST () \"/\" {900000}\r\n"+strings.Repeat("x", 900_000)+"\r\n"))},
		"attributes without end":        {quirks: before("LIST", imaptest.Forever("* LIST ("+strings.Repeat(`\Abcdef `, 60_000)+`\X) "/" "f%d"`+"\r\n"))},
		"statuses without end":          {quirks: before("LIST", imaptest.Forever("* STATUS \"folder %d\" (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 3)\r\n"))},
		"alerts without end":            {quirks: before("LIST", imaptest.Forever("* OK [ALERT] number %d\r\n"))},
		"unknown words without end":     {quirks: before("LIST", imaptest.Forever("* X%d\r\n"))},
		"counts without end":            {quirks: before("SELECT", imaptest.Forever("* %d EXISTS\r\n"))},
		"expunges without end":          {quirks: before("SELECT", imaptest.Forever("* 1 EXPUNGE\r\n"))},
		"continuations without end":     {quirks: before("SELECT", imaptest.Forever("+ go on\r\n"))},
		"blank lines without end":       {quirks: before("SELECT", imaptest.Forever("\r\n"))},
		"foreign tags without end":      {quirks: before("SELECT", imaptest.Forever("X%d OK done\r\n"))},
		"capabilities without end":      {quirks: before("SELECT", imaptest.Forever("* CAPABILITY X%d\r\n"))},
		"flags without end":             {quirks: before("SELECT", imaptest.Forever("* FLAGS (a%d)\r\n"))},
		"permanent flags without end":   {quirks: before("SELECT", "* OK [PERMANENTFLAGS ("+strings.Repeat("abcdefgh ", 800_000)+")] ok"), codes: fine},
		"messages without end":          {quirks: before("UID FETCH", imaptest.Forever("* %[1]d FETCH (UID %[1]d FLAGS (\\Seen) MODSEQ (99999) INTERNALDATE \" 1-Jan-2020 00:00:00 +0000\" RFC822.SIZE 100)\r\n"))},
		"one message without end":       {quirks: before("UID FETCH", imaptest.Forever("* 1 FETCH (UID 1 FLAGS (\\Seen))\r\n"))},
		"messages in a SELECT":          {quirks: before("SELECT", imaptest.Forever("* %[1]d FETCH (UID %[1]d FLAGS (\\Seen))\r\n"))},
		"keywords without end":          {quirks: before("UID FETCH", imaptest.Forever("* %[1]d FETCH (UID %[1]d FLAGS ("+strings.Repeat("abcdefgh ", 100_000)+"x) INTERNALDATE \" 1-Jan-2020 00:00:00 +0000\" RFC822.SIZE 100)\r\n"))},
		"a FETCH without end":           {quirks: before("UID FETCH", imaptest.Forever("* 1 FETCH (UID 1 "))},
		"a message of 4 GB":             {quirks: each(aBody, "* 1 FETCH (UID 1 FLAGS () INTERNALDATE \" 1-Jan-2020 00:00:00 +0000\" BODY[] {4294967295}", imaptest.Silence)},
		"a message of 1 EB":             {quirks: each(aBody, "* 1 FETCH (UID 1 FLAGS () BODY[] {1152921504606846976}", imaptest.Forever("x"))},
		"a header of 4 GB":              {quirks: each(aBody, "* 1 FETCH (UID 1 FLAGS () BODY[HEADER] {4294967295}", imaptest.Forever("X: y\r\n"))},
		"a name of 4 GB":                {quirks: before("LIST", "* LIST () \"/\" {4294967295}", imaptest.Forever("x"))},
		"a flag of 4 GB":                {quirks: before("UID FETCH", "* 1 FETCH (UID 1 FLAGS ({4294967295}", imaptest.Forever("x"))},
		"a search without end":          {quirks: before("SELECT|UID FETCH", "* SEARCH 1", imaptest.Forever("* SEARCH 1 2 3 4\r\n"))},
		"a namespace without end":       {quirks: before("NAMESPACE|LIST", imaptest.Forever("* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n"))},
		"parentheses without end":       {quirks: before("LIST", "* LIST "+strings.Repeat("(", 5_000_000)), codes: fine},
		"nested body structures":        {quirks: before("UID FETCH", "* 1 FETCH (UID 1 BODYSTRUCTURE "+strings.Repeat("(", 5_000_000)), codes: fine},
		"nested threads":                {quirks: before("LIST", "* THREAD "+strings.Repeat("(", 5_000_000)), codes: fine},
	}
}

// named are folders that a server lists besides those that it has.
func named(names ...string) hostile {
	lines := []string{}
	for _, name := range names {
		lines = append(lines, fmt.Sprintf("* LIST () \"/\" {%d}\r\n%s", len(name), name),
			fmt.Sprintf("* STATUS {%d}\r\n%s (MESSAGES 0 UIDNEXT 1 UIDVALIDITY 1 HIGHESTMODSEQ 1)", len(name), name))
	}
	return hostile{quirks: before("LIST", lines...), codes: fine, fresh: true}
}

const nasty = "\x1b[2J\x1b]0;evil\x07\u202egnp.exe\u2066\x7f\u009b31m"

// liars are the servers of TestAServerThatLies.
func liars() map[string]hostile {
	return map[string]hostile{
		"names that lead out":       named("../evil", "../../evil", "..", ".", "a/../../evil", "INBOX/../../evil", "/tmp/mailtwin.evil", "//evil", "a//b", "./evil", `..\evil`, `C:\evil`),
		"names of our own files":    named("cur", "new", "tmp", "INBOX/cur", "INBOX/new/x", "INBOX/.mailtwin", "INBOX/dovecot-keywords", ".mailtwin", "state", "INBOX/tmp"),
		"names with NUL":            named("a\x00b", "\x00", "../\x00"),
		"names with line ends":      named("a\r\nb", "a\nmailtwin: alice: all is well"),
		"names with escapes":        named("&ABs-[2Jred", "&ABs-]0;evil&AAc-", "&AH8-", "&AJs-31m", "\x1b[31mred", "&IC4-gnp.exe", "\u202egnp.exe", "&IGY-x&IGk-", "&IAs-", "&AAo-", "&AA0ACg-x"),
		"names that are long":       named(strings.Repeat("x", 1000), strings.Repeat("x/", 120)+"x", strings.Repeat("x", 5000), strings.Repeat("&IC4-", 150)),
		"names that are no UTF-7":   named("R&D", "\xff\xfe", "&", "&&&", "&Jjo!", "&2AA-", "&AGE-"),
		"another INBOX":             named("Inbox", "inbox", "INBOX/", "/INBOX", "INBOX."),
		"nasty refusals of folders": {quirks: instead("SELECT", "NO [ALERT] "+nasty), codes: fine},
		"nasty remarks":             {quirks: before("[A-Z]+", "* OK [ALERT] "+nasty, "* NO "+nasty, "* BAD "+nasty, "* X"+nasty, "* OK [X"+nasty+"] "+nasty), codes: fine},
		"a nasty goodbye":           {quirks: before("SELECT", "* BYE "+nasty, imaptest.HangUp)},
		"nasty flags":               {quirks: each(`^\* FLAGS`, "* FLAGS (\\Seen "+nasty+" a\u202eb \"q\")", "* OK [PERMANENTFLAGS (\\Seen "+nasty+" \\*)] "+nasty), codes: fine},
		"nasty flags of messages": {quirks: func() imaptest.Quirks {
			return says(becomes(`FLAGS \(`, "FLAGS (x\u00a0y \ufeffz a/b ../x %00 "+strings.Repeat("k", 5000)+" "+"\u202e"+" "))()
		}, codes: fine},
		"UIDs that are the same":      {quirks: func() imaptest.Quirks { return says(becomes(`UID \d+`, "UID 3"))() }, codes: fine},
		"UIDs that descend":           {quirks: descending, codes: fine},
		"UID 0":                       {quirks: func() imaptest.Quirks { return says(becomes(`UID \d+`, "UID 0"))() }, codes: fine},
		"UIDs above 2^32":             {quirks: func() imaptest.Quirks { return says(becomes(`UID (\d+)`, "UID 429496729$1"))() }, codes: fine},
		"UIDs shifted by one":         {quirks: func() imaptest.Quirks { return says(becomes(`\(UID (\d+)`, "(UID 1$1"))() }, codes: fine, agrees: true},
		"sizes of 0":                  {quirks: func() imaptest.Quirks { return says(becomes(`RFC822.SIZE \d+`, "RFC822.SIZE 0"))() }, codes: fine},
		"sizes beyond all":            {quirks: func() imaptest.Quirks { return says(becomes(`RFC822.SIZE \d+`, "RFC822.SIZE 9223372036854775807"))() }, codes: fine},
		"sizes below 0":               {quirks: func() imaptest.Quirks { return says(becomes(`RFC822.SIZE \d+`, "RFC822.SIZE -1"))() }, codes: fine},
		"expunges unasked":            {quirks: before("[A-Z]+", "* 1 EXPUNGE"), codes: fine},
		"all expunged unasked":        {quirks: before("[A-Z]+", "* 1 EXPUNGE", "* 1 EXPUNGE", "* 1 EXPUNGE", "* 1 EXPUNGE", "* 1 EXPUNGE", "* 1 EXPUNGE", "* 1 EXPUNGE", "* 1 EXPUNGE", "* 1 EXPUNGE", "* 1 EXPUNGE"), codes: fine},
		"expunges of nothing":         {quirks: before("[A-Z]+", "* 0 EXPUNGE", "* 4294967295 EXPUNGE", "* 99 EXPUNGE"), codes: fine},
		"counts unasked":              {quirks: before("[A-Z]+", "* 4294967295 EXISTS", "* 3 RECENT"), codes: fine},
		"counts of 0 unasked":         {quirks: before("[A-Z]+", "* 0 EXISTS"), codes: fine},
		"counts of 0":                 {quirks: each(`^\* \d+ EXISTS`, "* 0 EXISTS"), codes: fine},
		"counts that are too large":   {quirks: each(`^\* \d+ EXISTS`, "* 4294967295 EXISTS"), codes: fine},
		"counts that are too small":   {quirks: each(`^\* \d+ EXISTS`, "* 1 EXISTS"), codes: fine},
		"messages never asked for":    {quirks: before("[A-Z]+", `* 1 FETCH (UID 1 FLAGS (\Deleted \Seen $evil))`, `* 77 FETCH (UID 7777 FLAGS () INTERNALDATE " 1-Jan-2020 00:00:00 +0000" RFC822.SIZE 5)`, "* 5 FETCH ()", "* 0 FETCH (UID 1)"), codes: fine},
		"bodies never asked for":      {quirks: before("[A-Z]+", "* 1 FETCH (UID 1 FLAGS () BODY[] {4}\r\nevil)", "* 1 FETCH (UID 2 BODY[] NIL BODY[] {4}\r\nevil BODY[HEADER] {4}\r\nevil)"), codes: fine},
		"no UIDs in the answers":      {quirks: func() imaptest.Quirks { return says(becomes(`UID \d+ ?`, ""))() }, codes: fine},
		"no flags in the answers":     {quirks: func() imaptest.Quirks { return says(becomes(` FLAGS \([^)]*\)`, ""))() }, codes: fine},
		"no answers to FETCH":         {quirks: func() imaptest.Quirks { return says(becomes(aFetch+".*", ""))() }, codes: fine},
		"empty bodies":                {quirks: func() imaptest.Quirks { return says(becomes(`BODY\[\] `+imaptest.Literal, "BODY[] NIL"))() }, codes: fine},
		"searches that find nothing":  {quirks: func() imaptest.Quirks { return says(becomes(`^(\* ESEARCH .*) ALL .*`, "$1 COUNT 0"))() }, codes: fine},
		"searches that find less":     {quirks: func() imaptest.Quirks { return says(becomes(`^(\* ESEARCH .*) ALL \S+`, "$1 ALL 1"))() }, codes: fine},
		"searches that find more":     {quirks: func() imaptest.Quirks { return says(becomes(`^(\* ESEARCH .*) ALL \S+`, "$1 ALL 1:4294967295"))() }, codes: fine},
		"searches of another command": {quirks: func() imaptest.Quirks { return says(becomes(`TAG "[^"]*"`, `TAG "T1"`))() }, codes: fine},
		"another command's tag":       {quirks: func() imaptest.Quirks { return says(becomes(`^(T\d+) OK`, `${1}0 OK`))() }},
		"answers of two commands":     {quirks: swapped, codes: fine},
		"all is well":                 {quirks: func() imaptest.Quirks { return says(becomes(`^(T\d+) (NO|BAD) .*`, "$1 OK fine"))() }, codes: fine},
		"nothing is well":             {quirks: func() imaptest.Quirks { return says(becomes(`^(T\d+) OK .*`, "$1 BAD what?"))() }, codes: []int{exitFailed, exitTemporary, exitNoPerm}},
		"UIDVALIDITY 0":               {quirks: func() imaptest.Quirks { return says(becomes(`UIDVALIDITY \d+`, "UIDVALIDITY 0"))() }, codes: fine},
		"UIDVALIDITY going back":      {quirks: func() imaptest.Quirks { return says(becomes(`UIDVALIDITY \d+`, "UIDVALIDITY 1"))() }, codes: fine},
		"UIDVALIDITY never the same":  {quirks: restless(`UIDVALIDITY `), codes: fine},
		"UIDVALIDITY only in SELECT":  {quirks: func() imaptest.Quirks { return says(becomes(`\[UIDVALIDITY \d+`, "[UIDVALIDITY 7"))() }, codes: fine},
		"UIDNEXT 0":                   {quirks: func() imaptest.Quirks { return says(becomes(`UIDNEXT \d+`, "UIDNEXT 0"))() }, codes: fine},
		"UIDNEXT going back":          {quirks: func() imaptest.Quirks { return says(becomes(`UIDNEXT \d+`, "UIDNEXT 1"))() }, codes: fine},
		"UIDNEXT at the end":          {quirks: func() imaptest.Quirks { return says(becomes(`UIDNEXT \d+`, "UIDNEXT 4294967295"))() }, codes: fine},
		"UIDNEXT never the same":      {quirks: restless(`UIDNEXT `), codes: fine},
		"HIGHESTMODSEQ 0":             {quirks: func() imaptest.Quirks { return says(becomes(`HIGHESTMODSEQ \d+`, "HIGHESTMODSEQ 0"))() }, codes: fine},
		"HIGHESTMODSEQ going back":    {quirks: func() imaptest.Quirks { return says(becomes(`HIGHESTMODSEQ \d+`, "HIGHESTMODSEQ 1"))() }, codes: fine},
		"HIGHESTMODSEQ at the end": {quirks: func() imaptest.Quirks {
			return says(becomes(`HIGHESTMODSEQ \d+`, "HIGHESTMODSEQ 18446744073709551615"))()
		}, codes: fine},
		"HIGHESTMODSEQ all the same":  {quirks: func() imaptest.Quirks { return says(becomes(`HIGHESTMODSEQ \d+`, "HIGHESTMODSEQ 3"))() }, codes: fine},
		"NOMODSEQ":                    {quirks: each(`^\* OK \[HIGHESTMODSEQ`, "* OK [NOMODSEQ] none"), codes: fine},
		"no permanent flags":          {quirks: each(permanent, "* OK [PERMANENTFLAGS ()] none"), codes: fine},
		"no folders":                  {quirks: func() imaptest.Quirks { return says(becomes(`^\* (LIST|STATUS) .*`, ""))() }, codes: fine},
		"no INBOX":                    {quirks: func() imaptest.Quirks { return says(becomes(`^\* (LIST .*|STATUS) "?INBOX.*`, ""))() }, codes: fine},
		"folders that cannot be read": {quirks: func() imaptest.Quirks { return says(becomes(`^\* LIST \(`, `* LIST (\NoSelect \NonExistent `))() }, codes: fine},
		"all folders empty":           {quirks: func() imaptest.Quirks { return says(becomes(`^(\* STATUS .*)MESSAGES \d+`, "${1}MESSAGES 0"))() }, codes: fine},
	}
}

// descending numbers the messages the other way round.
func descending() imaptest.Quirks {
	uid := regexp.MustCompile(`^(\* \d+ FETCH .*UID )(\d+)`)
	return imaptest.Quirks{Answer: func(line, _ string) []string {
		return []string{uid.ReplaceAllStringFunc(line, func(found string) string {
			m := uid.FindStringSubmatch(found)
			n, _ := strconv.Atoi(m[2])
			return m[1] + strconv.Itoa(max(1, 20-n))
		})}
	}}
}

// restless gives another number each time.
func restless(name string) func() imaptest.Quirks {
	number := regexp.MustCompile(name + `\d+`)
	var n atomic.Int64 // of all connections
	return func() imaptest.Quirks {
		return imaptest.Quirks{Answer: func(line, _ string) []string {
			return []string{number.ReplaceAllStringFunc(line, func(string) string {
				return name + strconv.FormatInt(100+n.Add(1)*37%50, 10)
			})}
		}}
	}
}

// swapped gives the answer to a command after that to the next one, if that comes.
func swapped() imaptest.Quirks {
	kept := ""
	return imaptest.Quirks{Answer: func(line, command string) []string {
		switch {
		case kept != "":
			lines := []string{line, kept}
			kept = ""
			return lines
		case strings.HasPrefix(command, "STATUS") || strings.HasPrefix(command, "UID FETCH"):
			kept = line
			return nil
		}
		return []string{line}
	}}
}

// TestAServerThatLies: none of it takes anything away.
func TestAServerThatLies(t *testing.T) {
	t.Parallel()
	all := map[string]func(s *story){}
	for name, h := range liars() {
		h.lies = true
		all[name] = h.meet
	}
	stories(t, all)
}

// TestAServerThatStopsAtEachStep: it says nothing any more, says goodbye, or just goes,
// after so many lines.
func TestAServerThatStopsAtEachStep(t *testing.T) {
	t.Parallel()
	stride := 12
	if os.Getenv("MAILTWIN_LONG") == "1" {
		stride = 1
	}
	all := map[string]func(s *story){}
	for how, lines := range map[string][]string{
		"silent": {imaptest.Silence}, "goodbye": {"* BYE enough", imaptest.HangUp}, "gone": {imaptest.HangUp},
	} {
		for at := 1; at < 80; at += stride {
			all[fmt.Sprintf("%s after %d lines", how, at)] = hostile{codes: fine, quirks: func() imaptest.Quirks {
				n := 0
				return imaptest.Quirks{Answer: func(line, _ string) []string {
					if n++; n == at {
						return lines
					}
					return []string{line}
				}}
			}}.meet
		}
	}
	stories(t, all)
}

// TestAHostileServer: whatever it says, nothing is lost, nothing is written elsewhere,
// and the run ends in time and within its memory. And then the server is itself again.
func TestAHostileServer(t *testing.T) {
	t.Parallel()
	all := map[string]func(s *story){}
	for name, h := range hostiles() {
		all[name] = h.meet
	}
	stories(t, all)
}

// meet has two computers meet the server: one that was in step and has something to do,
// and one that is new.
func (h hostile) meet(s *story) {
	d := mixed(s)
	listed := func() []string { return slices.Sorted(maps.Keys(s.tree())) }
	there := s.there("INBOX")
	outside := listed()
	server := s.server
	between := imaptest.Between(s, server.Host, server.Port, h.quirks)
	s.server = &dovecot.Server{Host: between.Host, Port: between.Port, User: s.user, Password: server.Password}
	kept := d.subjects("INBOX")
	d = s.device("laptop", `timeout = "1s"`)
	fresh := s.device("desktop", `timeout = "1s"`)
	codes := h.codes
	if codes == nil {
		codes = []int{exitTemporary}
	}
	d.meets(codes)
	if h.fresh || os.Getenv("MAILTWIN_LONG") == "1" {
		fresh.meets(append(codes, fine...))
	}
	// What nobody removed is here still, and there.
	if !h.agrees {
		s.want("removed here", without(kept, append(d.subjects("INBOX"), "delete there")))
	}
	s.want("removed there", without(without(there, s.there("INBOX")), []string{"delete here", "move here", "rewrite here"}))
	s.want("outside of all Maildirs", without(listed(), outside))

	s.server = server
	d, fresh = s.device("laptop"), s.device("desktop")
	ends := []string{"flag here", "flag there", "new here", "new there", "rewrite here", "still"}
	if h.lies {
		for range 2 {
			if r := d.run("sync"); !slices.Contains(fine, r.code) {
				s.Errorf("afterwards, exit code %d: %s", r.code, r.stderr)
			}
		}
		s.want("lost", without(without(ends, s.there("INBOX")), d.subjects("INBOX")))
		return
	}
	d.sync()
	d.sync()
	s.want("INBOX", s.there("INBOX"), ends...)
	d.same()
	fresh.sync()
	fresh.same()
	settle2(d)
}

// tree are the files of the story that are in no Maildir and no state directory.
func (s *story) tree() map[string]bool {
	s.Helper()
	all := map[string]bool{}
	s.check(filepath.WalkDir(s.dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && (e.Name() == "Mail" || e.Name() == "state") {
			return filepath.SkipDir
		}
		if rel, _ := filepath.Rel(s.dir, path); rel != "stats" && !strings.HasPrefix(rel, "desktop") {
			all[rel] = true
		}
		return err
	}))
	return all
}

// meets syncs in a process of its own, which has to end in time, within its memory, with
// one of the codes, and with text that is fit to be shown.
func (d *computer) meets(codes []int) {
	d.Helper()
	self, err := os.Executable()
	d.check(err)
	stats := filepath.Join(d.dir, "stats")
	os.Remove(stats) // of an earlier one
	ctx, cancel := context.WithTimeout(d.Context(), hostileTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, self)
	cmd.Args = []string{childName, "--config", d.config, "-v", "sync"}
	cmd.Env = append(os.Environ(), killAt+"=0", childStats+"="+stats)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) } // it says what it waits for
	cmd.WaitDelay = hostileTime
	began := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(began)
	var exit *exec.ExitError
	code := 0
	switch {
	case ctx.Err() != nil:
		d.Fatalf("%s: it did not end within %v: %.50000s", d.name, hostileTime, out)
	case errors.As(err, &exit):
		code = exit.ExitCode()
	default:
		d.check(err)
	}
	text := string(out)
	if !slices.Contains(codes, code) || strings.Contains(text, "goroutine ") || strings.Contains(text, "panic") {
		d.Errorf("%s: exit code %d, want one of %v: %.2000s", d.name, code, codes, text)
	}
	if len(text) > 100_000 {
		d.Errorf("%s: it printed %d octets", d.name, len(text))
	}
	for line := range strings.Lines(text) {
		for _, r := range strings.TrimSuffix(line, "\n") {
			if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == unicode.ReplacementChar {
				d.Errorf("%s: it printed %q", d.name, line)
				break
			}
		}
	}
	var steps, memory int
	told, err := os.ReadFile(stats)
	d.check(err)
	if _, err := fmt.Sscan(string(told), &steps, &memory); err != nil {
		d.Fatal(err)
	}
	d.Logf("%s: code %d after %v with %d MB: %.300s", d.name, code, took.Round(100*time.Millisecond), memory>>10, text)
	if memory > hostileMemory {
		d.Errorf("%s: it took %d MB", d.name, memory>>10)
	}
}

package corpus

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	netmail "net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mailtwin/conflict/mail"
)

var now = time.Date(2024, 4, 12, 9, 30, 0, 0, time.UTC)

// parse reads a message as a mail program does, parts and all, and fails the test
// where that does not go.
func parse(t *testing.T, raw []byte) *netmail.Message {
	t.Helper()
	if bytes.Contains(bytes.ReplaceAll(raw, []byte("\r\n"), nil), []byte("\n")) {
		t.Errorf("a bare LF in %q", raw)
	}
	m, err := netmail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("%v in %q", err, raw)
	}
	for _, field := range []string{"From", "To"} {
		if _, err := m.Header.AddressList(field); err != nil {
			t.Errorf("%s %q: %v", field, m.Header.Get(field), err)
		}
	}
	if _, err := m.Header.Date(); err != nil {
		t.Error(err)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Error(err)
	}
	if strings.HasPrefix(kind, "multipart/") {
		parts := 0
		for r := multipart.NewReader(m.Body, params["boundary"]); ; parts++ {
			p, err := r.NextPart()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, p); err != nil {
				t.Error(err)
			}
		}
		if parts != 2 {
			t.Errorf("%s with %d parts", kind, parts)
		}
	}
	return m
}

func TestEveryKindIsAMessage(t *testing.T) {
	g := New(1)
	for kind := range kinds {
		raw := g.Message(kind, now, 9000)
		m := parse(t, raw)
		if len(raw) < 8000 || len(raw) > 11000 {
			t.Errorf("kind %d has %d octets, asked for 9000", kind, len(raw))
		}
		if has := m.Header.Get("Message-ID") != ""; has == (kind == NoID) {
			t.Errorf("kind %d: has Message-ID: %v", kind, has)
		}
		if (m.Header.Get("References") != "") != (kind == Reply) || (m.Header.Get("List-Id") != "") != (kind == List) {
			t.Errorf("kind %d has the wrong fields", kind)
		}
	}
}

func TestTheSameSeedGivesTheSameMail(t *testing.T) {
	one, two, other := collect(7, 50), collect(7, 50), collect(8, 50)
	for i := range one {
		if !bytes.Equal(one[i].Raw, two[i].Raw) || one[i].Folder != two[i].Folder || !one[i].Flags.Equal(two[i].Flags) {
			t.Fatalf("message %d differs", i)
		}
		if bytes.Equal(one[i].Raw, other[i].Raw) {
			t.Fatalf("message %d is the same for another seed", i)
		}
	}
}

func collect(seed uint64, n int) []Sample {
	return slices.Collect(Bulk(seed, n, 5, int64(n)*6000))
}

func TestBulk(t *testing.T) {
	const n, folders, each = 2000, 20, 6000
	var headers []int
	total, noID := 0, 0
	names := map[mail.Folder]int{}
	seen := map[string]mail.Folder{}
	twins := 0
	for s := range Bulk(3, n, folders, n*each) {
		m := parse(t, s.Raw)
		headers = append(headers, bytes.Index(s.Raw, []byte("\r\n\r\n")))
		total += len(s.Raw)
		names[s.Folder]++
		if m.Header.Get("Message-ID") == "" {
			noID++
		}
		if folder, known := seen[string(s.Raw)]; known {
			twins++
			if folder != s.Folder {
				t.Errorf("a twin of %q is in %q", folder, s.Folder)
			}
		}
		seen[string(s.Raw)] = s.Folder
	}
	slices.Sort(headers)
	if median := headers[len(headers)/2]; median < 2700 || median > 3500 {
		t.Errorf("the median header has %d octets", median)
	}
	if mean := total / n; mean < each*8/10 || mean > each*12/10 {
		t.Errorf("%d octets in the mean, asked for %d", mean, each)
	}
	if len(headers) != n || len(names) != folders || names[mail.Inbox] == 0 || noID != n/499 || twins != n/997 {
		t.Errorf("%d messages in %d folders, %d without Message-ID, %d twins", len(headers), len(names), noID, twins)
	}
}

func TestBulkStopsWhenItsReaderDoes(t *testing.T) {
	got := 0
	for range Bulk(1, 1<<30, 3, 1<<40) {
		if got++; got == 10 {
			break
		}
	}
	if got != 10 {
		t.Errorf("got %d", got)
	}
}

func TestDemo(t *testing.T) {
	folders := DemoFolders()
	ids := map[string]bool{}
	used := map[mail.Folder]bool{}
	samples := Demo(now)
	for _, s := range samples {
		m := parse(t, s.Raw)
		id := m.Header.Get("Message-ID")
		if ids[id] || id == "" {
			t.Errorf("Message-ID %q twice", id)
		}
		ids[id] = true
		if _, known := folders[s.Folder]; !known && s.Folder != mail.Inbox {
			t.Errorf("%q is not among the folders", s.Folder)
		}
		used[s.Folder] = true
		if s.Date.After(now) || now.Sub(s.Date) > 60*day {
			t.Errorf("%s is of %v", id, s.Date)
		}
	}
	for _, s := range samples {
		for _, above := range strings.Fields(parse(t, s.Raw).Header.Get("References")) {
			if !ids[above] {
				t.Errorf("%s is answered, and not there", above)
			}
		}
	}
	for f := range folders {
		if !used[f] && f != "Junk" {
			t.Errorf("%q is empty", f)
		}
	}
}

func TestTree(t *testing.T) {
	root := t.TempDir()
	tree := NewTree(root, -1, -1)
	raw := []byte("Subject: x\r\n\r\nhello\r\n")
	for _, s := range []Sample{
		{Folder: "INBOX", Date: now, Raw: raw},
		{Folder: "Lists/go", Flags: mail.Flags{System: mail.Seen | mail.Flagged | mail.Forwarded, Keywords: "work"}, Date: now, Raw: raw},
		{Folder: "Lists/go", Flags: mail.Flags{Keywords: "work"}, Date: now, Raw: raw},
		{Folder: "Entwürfe & mehr", Date: now, Raw: raw},
	} {
		if err := tree.Write(s); err != nil {
			t.Fatal(err)
		}
	}
	for pattern, want := range map[string]int{
		"cur/*:2,": 1, ".Lists.go/cur/*:2,FSab": 1, ".Lists.go/cur/*:2,a": 1, ".Entw&APw-rfe &- mehr/cur/*:2,": 1,
		".Lists.go/maildirfolder": 1, ".Lists.go/new": 1, ".Lists.go/tmp": 1,
	} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(files) != want {
			t.Errorf("%s: %q, %v", pattern, files, err)
			continue
		}
		if info, err := os.Stat(files[0]); err != nil || info.Mode().IsRegular() && strings.Contains(pattern, ":2,") && (!info.ModTime().Equal(now) || info.Size() != int64(len(raw)-3)) {
			t.Errorf("%s: %v, %v", pattern, info, err)
		}
	}
	keywords, err := os.ReadFile(filepath.Join(root, ".Lists.go", "dovecot-keywords"))
	if err != nil || string(keywords) != "0 work\n1 $Forwarded\n" {
		t.Errorf("%q, %v", keywords, err)
	}
}

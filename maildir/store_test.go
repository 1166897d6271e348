package maildir

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
)

// Where messages marked T are expunged, one that came back with the mark would be gone
// again after the next sync.
func TestARestoredMessageIsNotMarkedAsDeleted(t *testing.T) {
	for name, want := range map[string]string{"a:2,FSTb": ":2,FSb", "a:2,T": ":2,", "a:2,ST,S=12": ":2,S,S=12", "a:2,S": ":2,S", "a": ""} {
		now := noon
		tree, root, removed := newStore(t, &now)
		put(t, root, "INBOX/cur/"+name, "text")
		if err := tree.Remove(t.Context(), "INBOX", mail.File{Name: name}); err != nil {
			t.Fatal(err)
		}
		err := tree.Removed(t.Context(), func(r Removed) error {
			f, err := tree.Restore(t.Context(), r)
			if err == nil && (f.Name != string(f.Key)+want || f.Flags.Has(mail.Deleted)) {
				t.Errorf("%s came back as %+v", name, f)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if left := files(t, removed); len(left) != 0 {
			t.Errorf("in the store: %q", left)
		}
	}
}

func TestSubjectsOfRemovedMessages(t *testing.T) {
	for header, want := range map[string]string{
		"From: a\nSubject: hello\nTo: b\n\nSubject: body\n":      "hello",
		"subject : hello\r\n\tthere\r\n you\r\nSubject: two\r\n": "hello there you",
		"Subject: =?utf-8?q?M=C3=A4rz?=\n =?utf-8?q?_1?=\n":      "März 1",
		"Subject: =?x-odd?q?abc?=\n":                             "=?x-odd?q?abc?=",
		"Subject:\n\n":                                           "",
		"X-Subject: no\n\nSubject: body\n":                       "",
		"":                                                       "",
		"Subject":                                                "",
	} {
		if got := subjectOf([]byte(header)); got != want {
			t.Errorf("%q: %q, want %q", header, got, want)
		}
	}
}

func TestSizeOfStore(t *testing.T) {
	now := noon
	tree, root, removed := newStore(t, &now)
	if size, err := SizeOfStore(t.Context(), removed); size != (StoreSize{}) || err != nil {
		t.Errorf("before anything was removed: %+v, %v", size, err)
	}
	for _, name := range []string{"INBOX/cur/a", "INBOX/new/b", "Lists/go/cur/c"} {
		put(t, root, name, "12345")
		if err := tree.Remove(t.Context(), mail.Folder(filepath.Dir(filepath.Dir(name))), mail.File{Name: filepath.Base(name), New: name[6] == 'n'}); err != nil {
			t.Fatal(err)
		}
	}
	if size, err := SizeOfStore(t.Context(), removed); size != (StoreSize{3, 15}) || err != nil {
		t.Errorf("measured %+v, %v", size, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := SizeOfStore(ctx, removed); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := tree.PurgeRemoved(t.Context(), noon.AddDate(0, 0, 7)); err != nil {
		t.Fatal(err)
	}
	if size, err := SizeOfStore(t.Context(), removed); size != (StoreSize{}) || err != nil {
		t.Errorf("purged: %+v, %v", size, err)
	}
}

func TestPathOfAFolder(t *testing.T) {
	tree, _ := newTree(t, Options{})
	for folder, want := range map[mail.Folder]string{"INBOX": "INBOX", "Lists/.go": "Lists/%2Ego", "Entwürfe": "Entwürfe"} {
		if got, err := tree.Path(folder); got != want || err != nil {
			t.Errorf("%s is at %q, %v", folder, got, err)
		}
	}
}

// A header is what somebody sent: whatever it is, its subject is one line or less of it.
func FuzzSubject(f *testing.F) {
	for _, header := range []string{
		"From: a\nSubject: hello\n\n", "subject : a\r\n\tb\r\n c\r\n", "Subject: =?utf-8?q?M=C3=A4rz?=\n =?utf-8?b?w6Q=?=\n",
		"Subject: =?utf-8?q?=00=1b[31m?=", "Subject", ":", "\n", "Subject: =?x?y?z?=",
	} {
		f.Add([]byte(header))
	}
	f.Fuzz(func(t *testing.T, header []byte) {
		subject := subjectOf(header)
		if len(subject) > 4*len(header) {
			t.Errorf("%d octets of a subject from a header of %d", len(subject), len(header))
		}
		if shown := mail.Clean(subject, 60); strings.ContainsAny(shown, "\n\r\x1b\x00") || len(shown) > 60 {
			t.Errorf("%q is shown", shown)
		}
	})
}

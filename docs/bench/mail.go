package main

import (
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"time"

	"mailtwin/conflict/mail"
	"mailtwin/sync/imaptest/corpus"
)

// dataset is the mail of an account.
type dataset struct {
	name     string
	title    string
	messages int
	folders  int
	bytes    int64 // about; 0: small messages
	// shared: all programs use one account, since none of the workloads writes to it.
	shared bool
	// fresh: each run of each program has an account of its own.
	fresh bool
}

func (d *dataset) samples() iter.Seq[corpus.Sample] {
	if d.bytes > 0 {
		return corpus.Bulk(uint64(d.messages), d.messages, d.folders, d.bytes)
	}
	return small(d.messages, d.folders)
}

// small yields messages as short as people and cron write them.
func small(n, folders int) iter.Seq[corpus.Sample] {
	return func(yield func(corpus.Sample) bool) {
		last := time.Date(2024, 6, 1, 12, 0, 0, 0, time.UTC)
		for i := range n {
			date := last.Add(-time.Duration(n-i) * time.Minute)
			raw := fmt.Sprintf("Return-Path: <cron@example.org>\r\nReceived: from host%d.example.org by mx.example.org; %s\r\n"+
				"Date: %s\r\nFrom: Cron <cron@example.org>\r\nTo: alice@example.org\r\nSubject: Report %d\r\nMessage-ID: <%d.%d@example.org>\r\n\r\n"+
				"Run %d ended well, and there is nothing to be done about it.\r\n",
				i%50, date.Format(time.RFC1123Z), date.Format(time.RFC1123Z), i, date.Unix(), i, i)
			s := corpus.Sample{Folder: corpus.FolderName(i % folders), Date: date, Raw: []byte(raw)}
			if i%5 != 0 {
				s.Flags.System = mail.Seen
			}
			if !yield(s) {
				return
			}
		}
	}
}

// letter is one new message for a delta, of the day before. No two of them have both
// size and date in common, as messages on Gmail have that are in several folders.
func letter(g *corpus.Generator) (raw []byte, date time.Time) {
	serial++
	date = time.Now().Truncate(time.Second).Add(-time.Duration(serial*997%86_400) * time.Second)
	return g.Message(corpus.Plain, date, 4_000+serial*37%8_000), date
}

// link copies a tree of mail: messages never change in a Maildir, so that they can be
// links, and an account costs no room.
func link(to, from string, uid, gid int) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case e.IsDir():
			err = os.MkdirAll(target, 0o700)
		case filepath.Base(filepath.Dir(path)) == "cur":
			return os.Link(path, target)
		default:
			var text []byte
			if text, err = os.ReadFile(path); err == nil {
				err = os.WriteFile(target, text, 0o600)
			}
		}
		if err != nil || os.Getuid() != 0 {
			return err
		}
		return os.Lchown(target, uid, gid)
	})
}

package maildir

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailtwin/conflict/mail"
)

func BenchmarkScan(b *testing.B) {
	const messages = 100_000
	tree, root := newTree(b, Options{})
	for i := range messages {
		f, err := os.Create(filepath.Join(root, fmt.Sprintf("INBOX/cur/17%08d.M%06dR%016xQ1P4711.host.example.org:2,S", i, i*7919%1e6, i*i)))
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
	age(b, root, "INBOX")
	b.ReportAllocs()
	for b.Loop() {
		listing, err := tree.Scan(context.Background(), "INBOX", mail.Letters{})
		if err != nil || !listing.Believed {
			b.Fatal(err)
		}
		n := 0
		for range listing.Files {
			n++
		}
		if n != messages {
			b.Fatal(n)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/messages, "ns/message")
}

func BenchmarkFolders(b *testing.B) {
	tree, _ := newTree(b, Options{})
	for i := range 100 {
		if err := tree.CreateFolder(context.Background(), mail.Folder(fmt.Sprintf("Lists/%d", i))); err != nil {
			b.Fatal(err)
		}
	}
	known, err := tree.Folders(context.Background(), nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := tree.Folders(context.Background(), known); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLand lands batches of small messages, as a first sync does.
func BenchmarkLand(b *testing.B) {
	const batch = 200
	for _, fsync := range []bool{false, true} {
		b.Run(fmt.Sprintf("fsync=%v", fsync), func(b *testing.B) {
			ctx := context.Background()
			tree, _ := newTree(b, Options{FSync: fsync})
			wire := []byte("Message-ID: <x>\r\nSubject: x\r\n\r\n" + strings.Repeat("0123456789012345678901234567890123456789\r\n", 100))
			b.SetBytes(batch * int64(len(wire)))
			for b.Loop() {
				keys := make([]mail.Key, batch)
				for i := range keys {
					in, err := tree.Create(ctx, "INBOX", time.Unix(1e9, 0))
					if err != nil {
						b.Fatal(err)
					}
					if _, err := in.Write(wire); err != nil {
						b.Fatal(err)
					}
					if _, _, err := in.Finish(); err != nil {
						b.Fatal(err)
					}
					keys[i] = in.Key()
				}
				if err := tree.Harden(ctx, "INBOX", keys); err != nil {
					b.Fatal(err)
				}
				for _, key := range keys {
					if _, err := tree.Publish(ctx, "INBOX", key, mail.Flags{}, mail.Letters{}); err != nil {
						b.Fatal(err)
					}
				}
				if err := tree.SyncFolder(ctx, "INBOX"); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/batch, "µs/message")
		})
	}
}

func BenchmarkRemove(b *testing.B) {
	ctx := context.Background()
	tree, _ := newTree(b, Options{FSync: true})
	for b.Loop() {
		b.StopTimer()
		f := land(b, tree, "INBOX", "x\r\n", mail.Flags{}, mail.Letters{})
		b.StartTimer()
		if err := tree.Remove(ctx, "INBOX", f); err != nil {
			b.Fatal(err)
		}
	}
}

package sync_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
)

// changing notes what is changed on a server, and in what order.
type changing struct {
	engine.Remote
	did []string
}

func (c *changing) Append(ctx context.Context, next func() *mail.Outgoing, answered func(mail.Appended)) {
	c.Remote.Append(ctx, func() *mail.Outgoing {
		u := next()
		if u != nil {
			c.did = append(c.did, "append to "+string(u.Folder))
		}
		return u
	}, answered)
}

func (c *changing) Change(ctx context.Context, visits []*mail.Visit) {
	for _, v := range visits {
		c.did = append(c.did, fmt.Sprintf("%s: %d flagged, %d removed", v.Folder, len(v.Stores), len(v.Moves)+len(v.Expunge)))
	}
	c.Remote.Change(ctx, visits)
}

// Each folder is visited once for what is flagged and what is removed there, after all that is
// new has been uploaded. But flags do not wait for what takes long, or may never end.
func TestAFolderIsVisitedOnce(t *testing.T) {
	for _, c := range []struct {
		name string
		size int // of what is uploaded
		want []string
	}{
		{"little is uploaded", 1 << 10, []string{
			"append to INBOX", "append to Lists",
			"INBOX: 1 flagged, 1 removed", "Archive: 1 flagged, 0 removed",
		}},
		{"much is uploaded", 5 << 20, []string{
			"INBOX: 1 flagged, 0 removed", "Archive: 1 flagged, 0 removed",
			"append to INBOX", "append to Lists",
			"INBOX: 0 flagged, 1 removed",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := account(t)
			d := newDevice(t, s)
			d.opts.Connections = 1
			d.sync()
			one := d.put("INBOX", "1.a:2,S", letter("one"))
			two := d.put("INBOX", "2.a:2,S", letter("two"))
			three := d.put("Archive", "3.a:2,S", letter("three"))
			d.put("Lists", "4.a:2,S", letter("four"))
			d.sync()
			d.rename(one, "cur", "FS")
			must(t, os.Remove(two))
			d.rename(three, "cur", "FS")
			d.put("INBOX", "5.a:2,S", letter("five")+strings.Repeat("x", c.size))
			d.put("Lists", "6.a:2,S", letter("six"))
			log := &changing{}
			d.wrap = func(r engine.Remote) engine.Remote {
				log.Remote = r
				return log
			}
			d.sync()
			if !slices.Equal(log.did, c.want) {
				t.Errorf("it did %q, want %q", log.did, c.want)
			}
			d.wrap = nil
			d.inStep()
			d.quiet()
		})
	}
}

package wire

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

// A Watch sees what comes as it came, and nothing of what a SELECT tells.
func TestWatchSeesWhatIsSaid(t *testing.T) {
	said := make(chan Told, 100)
	client, c := dial(t, Options{}, func(s *server) error {
		_, err := io.WriteString(s, greeting)
		for err == nil {
			tag, command, over := s.hears()
			if over != nil {
				break
			}
			answer := "* 3 EXISTS\n"
			if command == "NOOP" {
				answer = "* 4 EXISTS\n* 2 EXPUNGE\n* 1 FETCH (FLAGS (\\Seen))\n* VANISHED 3\n" +
					"* STATUS \"a \\\"b\\\"\" (MESSAGES 0 UIDNEXT 2 ODD (1 2) HIGHESTMODSEQ 18446744073709551615 UIDVALIDITY x)\n" +
					"* STATUS {5}\nEntw& (MESSAGES 1)\n* STATUS Sent ()\n" +
					"* LIST (\\Subscribed) \"/\" Entw&APw-rfe\n* list (\\HasNoChildren \\NonExistent) NIL Newer (\"OLDNAME\" (New))\n" +
					"* OK [NOTIFICATIONOVERFLOW] too much\n* OK Still here\n"
			}
			_, err = fmt.Fprint(s, strings.ReplaceAll(answer, "\n", "\r\n")+tag+" OK\r\n")
		}
		return err
	})
	c.Watch(func(told Told) { said <- told })
	if _, err := client.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	if err := client.Noop().Wait(); err != nil {
		t.Fatal(err)
	}
	close(said)
	var got []string
	for told := range said {
		got = append(got, fmt.Sprint(told))
	}
	want := []string{"{EXISTS  map[] false}", "{EXPUNGE  map[] false}", "{FETCH  map[] false}", "{VANISHED  map[] false}",
		`{STATUS a "b" map[HIGHESTMODSEQ:18446744073709551615 MESSAGES:0 UIDNEXT:2] false}`,
		"{STATUS Entw& map[MESSAGES:1] false}", "{STATUS Sent map[] false}",
		"{LIST Entw&APw-rfe map[] false}", "{LIST Newer map[] true}", "{NOTIFICATIONOVERFLOW  map[] false}"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("it was told\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// What Ask sends is answered beside the client, which goes on as before; and an end ends the
// wait.
func TestAsk(t *testing.T) {
	client, c := dial(t, Options{}, func(s *server) error {
		_, err := io.WriteString(s, greeting)
		for err == nil {
			tag, command, over := s.hears()
			if over != nil {
				break
			}
			switch command {
			case "NOTIFY NONE":
				_, err = io.WriteString(s, "* STATUS INBOX (MESSAGES 1)\r\n"+tag+" NO [badevent (MessageNew)] not\tthat\r\n")
			case "CUT":
				return nil
			default:
				_, err = io.WriteString(s, tag+" OK [X] done\r\n")
			}
		}
		return err
	})
	if err := client.Noop().Wait(); err != nil {
		t.Fatal(err)
	}
	if a, ok := c.Ask("NOTIFY NONE"); !ok || a != (Answer{false, "BADEVENT", "not that"}) {
		t.Errorf("%+v, %v", a, ok)
	}
	if a, ok := c.Ask("SOMETHING"); !ok || a != (Answer{true, "X", "done"}) {
		t.Errorf("%+v, %v", a, ok)
	}
	for _, all := range [][]string{{"NOTIFY NONE", "SOMETHING"}, {"SOMETHING", "NOTIFY NONE", "NOTIFY NONE"}} {
		if a, ok := c.Ask(all...); !ok || a != (Answer{false, "BADEVENT", "not that"}) {
			t.Errorf("of %q one is refused: %+v, %v", all, a, ok)
		}
	}
	if a, ok := c.Ask("SOMETHING", "SOMETHING"); !ok || a != (Answer{true, "X", "done"}) {
		t.Errorf("%+v, %v", a, ok)
	}
	if err := client.Noop().Wait(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if a, ok := c.Ask("CUT"); ok {
			t.Errorf("an end is the answer %+v", a)
		}
	}
	within(t, "the end", client.Closed())
}

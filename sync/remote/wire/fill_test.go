package wire

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// However the client cuts what it writes, the empty literal is filled, and nothing else.
func TestAnEmptyLiteralIsFilled(t *testing.T) {
	text := strings.Repeat("0123456789abcde\n", 4000) // several chunks
	for _, command := range []string{"A APPEND x {0+}\r\n\r\n", "A APPEND x (\\Seen) {0+}\r\n\r\n"} {
		for _, piece := range []int{1, 3, len(command)} {
			head, tail, _ := strings.Cut(command, "{0+}\r\n")
			want := fmt.Sprintf("%s{%d+}\r\n%s%sB CREATE {0+}\r\n\r\n", head, len(text), text, tail)
			got := make(chan string, 1)
			c := New(play(t, func(s *server) error {
				all := make([]byte, len(want))
				_, err := io.ReadFull(s, all)
				got <- string(all)
				return err
			}), Options{})
			c.Fill(int64(len(text)), func(w io.Writer) error {
				_, err := io.WriteString(w, text)
				return err
			})
			for from := 0; from < len(command); from += piece {
				if n, err := c.Write([]byte(command[from:min(from+piece, len(command))])); n != min(piece, len(command)-from) || err != nil {
					t.Fatalf("write gives %d, %v", n, err)
				}
			}
			if _, err := io.WriteString(c, "B CREATE {0+}\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if sent := within(t, "what the server got", got); sent != want {
				t.Errorf("in pieces of %d: %.60q, want %.60q", piece, sent, want)
			}
		}
	}
}

// What cannot be written whole must not be a command.
func TestALiteralThatIsNotWholeEndsTheConnection(t *testing.T) {
	got := make(chan string, 1)
	c := New(play(t, func(s *server) error {
		all, err := io.ReadAll(s)
		got <- string(all)
		return err
	}), Options{})
	lost := errors.New("the file is gone")
	c.Fill(100, func(w io.Writer) error {
		io.WriteString(w, "some of it")
		return lost
	})
	if _, err := io.WriteString(c, "A APPEND x {0+}\r\n\r\n"); !errors.Is(err, lost) {
		t.Errorf("write gives %v", err)
	}
	if _, err := io.WriteString(c, "B NOOP\r\n"); err == nil {
		t.Error("the connection is still there")
	}
	if sent := within(t, "what the server got", got); strings.Contains(sent, "NOOP") || strings.HasSuffix(sent, "\r\n\r\n") {
		t.Errorf("the server got %q", sent)
	}
}

package config

import (
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

const sample = `# a comment with key = 1
state_dir = "/s"   # and [a.table]

[accounts.alice]
maildir = '''
[no.table]
no_key = 1'''
folders = [   # several lines
  "*", "]",
  "!Spam",
]
"quoted key" = "a \" = [ b"
map = { "a" = "b" }

[[accounts.alice.folder]]
match = "A"
[[accounts.alice.folder]]
match = """B""""
max_size = 1

[accounts.bob]
smtp.host = "h"
`

func TestLinesOfKeys(t *testing.T) {
	found := findLines(sample)
	for _, c := range []struct {
		path string
		line int
	}{
		{"state_dir", 2},
		{"accounts", 4},
		{"accounts.alice", 4},
		{"accounts.alice.maildir", 5},
		{"accounts.alice.folders", 8},
		{"accounts.alice.quoted key", 12},
		{"accounts.alice.map.a", 13},
		{"accounts.alice.folder[1]", 15},
		{"accounts.alice.folder[1].match", 16},
		{"accounts.alice.folder[2].match", 18},
		{"accounts.alice.folder[2].max_size", 19},
		{"accounts.alice.none", 4},
		{"accounts.bob.smtp.host", 22},
		{"none", 0},
	} {
		if got := found.of(strings.Split(c.path, ".")); got != c.line {
			t.Errorf("%s: line %d, want %d", c.path, got, c.line)
		}
	}
}

// FuzzLines: whatever the parser takes, the scan ends, and every key has a line that
// the document has.
func FuzzLines(f *testing.F) {
	f.Add(sample)
	f.Add("a.b.'c' = {x = [1, {y = '''\n'''}]}\n[[q]]\n[q.r]\nz=1")
	f.Add("\"\" = \"\\\"\"")
	f.Add("[[")
	f.Add("a = \"\"\"\"\"\"\"\"")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 4096 {
			return
		}
		found := findLines(text)
		var v map[string]any
		meta, err := toml.Decode(text, &v)
		if err != nil || strings.ContainsAny(text, "[\\\"'") {
			return // numbers of elements and escapes are not in meta's keys
		}
		for _, key := range meta.Keys() {
			if n := found.of(key); n < 1 || n > strings.Count(text, "\n")+1 {
				t.Errorf("key %q of %q is on line %d", key, text, n)
			}
		}
	})
}

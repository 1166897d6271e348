package config

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The documented configurations are good ones, and every key is documented.
func TestDocumentation(t *testing.T) {
	const file = "../../../docs/configuration.md"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	toml := regexp.MustCompile("(?s)```toml\n(.*?)```")
	blocks := toml.FindAllStringSubmatch(text, -1)
	gmail, err := os.ReadFile("../../../docs/gmail.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks = append(blocks, toml.FindAllStringSubmatch(string(gmail), -1)...)
	whole := 0
	for _, b := range blocks {
		if strings.Contains(b[1], "maildir =") {
			whole++
			load(t, b[1])
		}
	}
	if whole < 3 {
		t.Errorf("%d whole examples", whole)
	}
	for key := range strings.SplitSeq(allKeys(t), " ") {
		if !strings.Contains(text, "`"+key+"`") {
			t.Errorf("%s does not tell of %s", file, key)
		}
	}
}

// allKeys asks the reader itself which keys an account and its tables have.
func allKeys(t *testing.T) string {
	t.Helper()
	l := &loader{doc: &document{}}
	root := &table{doc: l.doc, values: map[string]any{"smtp": map[string]any{}, "folder": []map[string]any{{}}}}
	l.readAccount(root, "a")
	if len(root.asked) < 30 {
		t.Fatalf("only %d keys", len(root.asked))
	}
	keys := []string{"state_dir"}
	for _, k := range root.asked {
		if k != "smtp" && k != "folder" {
			keys = append(keys, k)
		}
	}
	return strings.Join(keys, " ")
}

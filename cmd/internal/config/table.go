package config

import (
	"fmt"
	"slices"
	"strings"
)

// document is a file while it is read: it collects what is wrong with it.
type document struct {
	file   string
	lines  lines
	errors Errors
}

// table is one TOML table. What has been asked for is what the table may hold, so
// the list of known keys is nowhere written down twice.
type table struct {
	doc    *document
	path   []string
	values map[string]any
	asked  []string
	lacks  []lack
}

// lack is what a table must have and does not: a key, or one that begins so.
type lack struct{ key, text string }

// failf notes a mistake at a key of the table, or with key "" at the table itself.
func (t *table) failf(key, format string, args ...any) {
	path := t.path
	if key != "" {
		path = t.at(key)
	}
	text := fmt.Sprintf(format, args...)
	if len(path) > 0 {
		text = strings.Join(path, ".") + ": " + text
	}
	t.doc.errors = append(t.doc.errors, &Error{t.doc.file, t.doc.lines.of(path), text})
}

// at gives the path of a key of the table.
func (t *table) at(key string) []string { return append(t.path[:len(t.path):len(t.path)], key) }

// line gives the line of a key of the table.
func (t *table) line(key string) int { return t.doc.lines.of(t.at(key)) }

// value looks a key up, and notes it as known.
func (t *table) value(key string) (any, bool) {
	t.asked = append(t.asked, key)
	v, ok := t.values[key]
	return v, ok
}

// has tells whether the file sets the key.
func (t *table) has(key string) bool {
	_, ok := t.values[key]
	return ok
}

// get reads a key by parse. It tells whether there was a value, and a good one.
func get[T any](t *table, key string, parse func(any) (T, error)) (T, bool) {
	raw, ok := t.value(key)
	if !ok {
		var none T
		return none, false
	}
	v, err := parse(raw)
	if err != nil {
		t.failf(key, "%v", err)
		return v, false
	}
	return v, true
}

// into is get for a variable that holds the default.
func into[T any](t *table, key string, parse func(any) (T, error), v *T) {
	if got, ok := get(t, key, parse); ok {
		*v = got
	}
}

// sub gives the table under a key; nil where there is none.
func (t *table) sub(key string) *table {
	values, ok := get(t, key, asTable)
	if !ok {
		return nil
	}
	return &table{doc: t.doc, path: t.at(key), values: values}
}

// subs gives the tables of an array of tables.
func (t *table) subs(key string) []*table {
	all, _ := get(t, key, asTables)
	var out []*table
	for i, values := range all {
		path := t.at(fmt.Sprintf("%s[%d]", key, i+1))
		out = append(out, &table{doc: t.doc, path: path, values: values})
	}
	return out
}

// needs notes that the table lacks a key. done complains of that.
func (t *table) needs(key, format string, args ...any) {
	t.lacks = append(t.lacks, lack{key, fmt.Sprintf(format, args...)})
}

// done complains of every key that was not asked for, and of what the table lacks but for
// keys that seem to be there under a wrong name.
func (t *table) done() {
	for key := range t.values {
		if slices.Contains(t.asked, key) {
			continue
		}
		meant := Nearest(key, t.asked)
		t.failf(key, "unknown key; did you mean %q?", meant)
		t.lacks = slices.DeleteFunc(t.lacks, func(l lack) bool { return strings.HasPrefix(meant, l.key) })
	}
	for _, l := range t.lacks {
		t.failf("", "%s", l.text)
	}
}

// Nearest gives the one of known that takes the fewest edits to become word; "" if
// known is empty.
func Nearest(word string, known []string) string {
	best, least := "", -1
	for _, k := range known {
		if d := edits(word, k); least < 0 || d < least {
			best, least = k, d
		}
	}
	return best
}

// maxEdited bounds what edits compares, since a key may be as long as the file.
const maxEdited = 64

// edits counts the letters to be put in, taken out or replaced to make b of a.
func edits(a, b string) int {
	x, y := []rune(a), []rune(b)
	x, y = x[:min(len(x), maxEdited)], y[:min(len(y), maxEdited)]
	row := make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i := range x {
		diagonal := row[0]
		row[0] = i + 1
		for j := range y {
			cost := diagonal
			if x[i] != y[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(y)]
}

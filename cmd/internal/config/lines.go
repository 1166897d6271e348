package config

import (
	"strconv"
	"strings"
)

// lines tells on which line of a TOML document each key and table stands, since the
// parser tells that only of keys that it could not read. The document has been parsed
// before, so all that is needed here is to find the keys and to step over the values.
// A key within an inline table has the line of that table.
type lines map[string]int

// sep joins the parts of a path; no TOML key can hold it unescaped, and what a key
// with an escaped one would cost is a wrong line in a message.
const sep = "\x00"

// of gives the line of the path, or of the nearest table around it, or 0. The parts
// of an array of tables are written name[1], name[2] and so on.
func (l lines) of(path []string) int {
	for n := len(path); n > 0; n-- {
		key := strings.Join(path[:n], sep)
		if line, ok := l[key]; ok {
			return line
		}
		if i := strings.LastIndexByte(key, '['); i > 0 {
			if line, ok := l[key[:i]]; ok {
				return line
			}
		}
	}
	return 0
}

func findLines(text string) lines {
	s := scanner{rest: text, line: 1, found: lines{}, arrays: map[string]int{}}
	var table []string
	for s.blank(); s.rest != ""; s.blank() {
		before := len(s.rest)
		if s.rest[0] == '[' {
			array := strings.HasPrefix(s.rest, "[[")
			s.rest = strings.TrimLeft(s.rest, "[")
			line := s.line
			table = s.enter(s.key(), array)
			s.found.add(table, line)
			s.rest = strings.TrimLeft(s.rest, " \t]")
		} else {
			line := s.line
			key := s.key()
			s.found.add(append(table[:len(table):len(table)], key...), line)
			s.value()
		}
		if len(s.rest) == before {
			s.rest = s.rest[1:] // no TOML at all; go on, so that this ends
		}
	}
	return s.found
}

// add notes the line of a path, and of the tables around it that have none.
func (l lines) add(path []string, line int) {
	for n := 1; n <= len(path); n++ {
		key := strings.Join(path[:n], sep)
		if _, ok := l[key]; !ok {
			l[key] = line
		}
	}
}

type scanner struct {
	rest   string
	line   int
	found  lines
	arrays map[string]int // path of an array of tables: how many elements so far
}

// enter gives the whole path of a table's header, with the number of the element
// wherever the path leads through an array of tables.
func (s *scanner) enter(header []string, array bool) []string {
	var path []string
	for i, part := range header {
		key := strings.Join(append(path[:len(path):len(path)], part), sep)
		if array && i == len(header)-1 {
			s.arrays[key]++
		}
		if n := s.arrays[key]; n > 0 {
			part += "[" + strconv.Itoa(n) + "]"
		}
		path = append(path, part)
	}
	return path
}

// skip takes n bytes, and counts the lines in them.
func (s *scanner) skip(n int) {
	n = min(n, len(s.rest))
	s.line += strings.Count(s.rest[:n], "\n")
	s.rest = s.rest[n:]
}

// blank steps over white space and comments.
func (s *scanner) blank() {
	for s.rest != "" {
		switch s.rest[0] {
		case ' ', '\t', '\r', '\n':
			s.skip(1)
		case '#':
			s.comment()
		default:
			return
		}
	}
}

func (s *scanner) comment() {
	if i := strings.IndexByte(s.rest, '\n'); i >= 0 {
		s.rest = s.rest[i:]
	} else {
		s.rest = ""
	}
}

// key reads a dotted key.
func (s *scanner) key() []string {
	var parts []string
	for {
		s.rest = strings.TrimLeft(s.rest, " \t")
		switch {
		case s.rest == "":
			return parts
		case s.rest[0] == '"' || s.rest[0] == '\'':
			before := s.rest
			s.quoted()
			raw := before[:len(before)-len(s.rest)]
			part, err := strconv.Unquote(raw)
			if err != nil || raw[0] == '\'' {
				part = strings.Trim(raw, raw[:1])
			}
			parts = append(parts, part)
		default:
			i := strings.IndexAny(s.rest, " \t\r\n.=]#\"'")
			if i < 0 {
				i = len(s.rest)
			}
			parts = append(parts, s.rest[:i])
			s.rest = s.rest[i:]
		}
		s.rest = strings.TrimLeft(s.rest, " \t")
		if !strings.HasPrefix(s.rest, ".") {
			return parts
		}
		s.rest = s.rest[1:]
	}
}

// value steps over the rest of a key's line, and over the lines that its value
// goes on for.
func (s *scanner) value() {
	depth := 0
	for s.rest != "" {
		switch s.rest[0] {
		case '"', '\'':
			s.quoted()
			continue
		case '#':
			s.comment()
			continue
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		case '\n':
			if depth <= 0 {
				return
			}
		}
		s.skip(1)
	}
}

// quoted steps over a string of any of TOML's four kinds.
func (s *scanner) quoted() {
	quote := s.rest[:1]
	end := quote
	if long := strings.Repeat(quote, 3); strings.HasPrefix(s.rest, long) {
		end = long
	}
	for i := len(end); i < len(s.rest); i++ {
		if s.rest[i] == '\\' && quote == `"` {
			i++
			continue
		}
		if strings.HasPrefix(s.rest[i:], end) {
			i += len(end)
			// Up to two quotes may stand before the closing three (TOML, String).
			for n := 0; len(end) == 3 && n < 2 && strings.HasPrefix(s.rest[i:], quote); n++ {
				i++
			}
			s.skip(i)
			return
		}
	}
	s.skip(len(s.rest))
}

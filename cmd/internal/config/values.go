package config

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"mailtwin/conflict/mail"
)

// The functions of this file turn a TOML value into a value of ours. Their errors
// say what the value should be; none repeats a value that may be a secret.

func asTable(v any) (map[string]any, error) {
	if t, ok := v.(map[string]any); ok {
		return t, nil
	}
	return nil, errors.New("must be a table")
}

func asTables(v any) ([]map[string]any, error) {
	switch list := v.(type) {
	case []map[string]any:
		return list, nil
	case []any:
		// An inline array: [{match = "a"}, {match = "b"}].
		var out []map[string]any
		for _, e := range list {
			t, ok := e.(map[string]any)
			if !ok {
				return nil, errors.New("must be an array of tables")
			}
			out = append(out, t)
		}
		return out, nil
	}
	return nil, errors.New("must be an array of tables: write its name in double brackets")
}

func asString(v any) (string, error) {
	if s, ok := v.(string); ok {
		return s, nil
	}
	return "", errors.New(`must be a string, in quotes`)
}

// asText is asString for what stands in one line of a protocol or a file name.
func asText(v any) (string, error) {
	s, err := asString(v)
	if err == nil && strings.ContainsAny(s, "\r\n\x00") {
		return "", errors.New("must not hold line ends or NUL")
	}
	return s, err
}

func asBool(v any) (bool, error) {
	if b, ok := v.(bool); ok {
		return b, nil
	}
	return false, errors.New("must be true or false, without quotes")
}

// asInt reads a whole number from low to high.
func asInt(low, high int) func(any) (int, error) {
	return func(v any) (int, error) {
		n, ok := v.(int64)
		if !ok || n < int64(low) || n > int64(high) {
			return 0, fmt.Errorf("must be a whole number from %d to %d, without quotes", low, high)
		}
		return int(n), nil
	}
}

func asStrings(v any) ([]string, error) {
	list, ok := v.([]any)
	if !ok {
		return nil, errors.New(`must be an array of strings: ["...", "..."]`)
	}
	out := make([]string, 0, len(list))
	for _, e := range list {
		s, ok := e.(string)
		if !ok {
			return nil, errors.New(`must be an array of strings: ["...", "..."]`)
		}
		out = append(out, s)
	}
	return out, nil
}

// asFolderMap reads names on the server and the local names that they get. What would
// always give one name to two folders is refused; that two of the server's folders
// happen to meet shows only when it lists them.
func asFolderMap(v any) (map[mail.Folder]mail.Folder, error) {
	t, ok := v.(map[string]any)
	if !ok {
		return nil, errFolderMap
	}
	out := make(map[mail.Folder]mail.Folder, len(t))
	taken := make(map[mail.Folder]string, len(t))
	for _, key := range slices.Sorted(maps.Keys(t)) {
		value, ok := t[key].(string)
		if !ok {
			return nil, errFolderMap
		}
		from, to := mail.ParseFolder(key), mail.ParseFolder(value)
		for _, name := range []mail.Folder{from, to} {
			switch {
			case name == mail.Inbox:
				return nil, fmt.Errorf("%q = %q: INBOX keeps its name, and no other folder gets it", key, value)
			case slices.Contains(name.Parts(), ""):
				return nil, fmt.Errorf("%q = %q: a part of a name is empty", key, value)
			}
		}
		if _, twice := out[from]; twice {
			return nil, fmt.Errorf("%q is there twice, in different spellings", from)
		}
		if first, twice := taken[to]; twice {
			return nil, fmt.Errorf("%q and %q both become %q", first, key, to)
		}
		out[from], taken[to] = to, key
	}
	return out, nil
}

var errFolderMap = errors.New(`must be a table of strings: { "name on the server" = "local name" }`)

// asCommand reads a command: an array is run as it is, a string by sh -c, and the
// empty array or string is none.
func asCommand(v any) ([]string, error) {
	if s, ok := v.(string); ok {
		if s == "" {
			return nil, nil
		}
		return []string{"sh", "-c", s}, nil
	}
	argv, err := asStrings(v)
	switch {
	case err != nil:
		return nil, errors.New(`must be a command: ["program", "argument"], or a string for sh -c`)
	case len(argv) == 0:
		return nil, nil
	case argv[0] == "":
		return nil, errors.New("names no program")
	}
	return argv, nil
}

func asPatterns(v any) (Patterns, error) {
	texts, err := asStrings(v)
	if err != nil {
		return nil, err
	}
	return ParsePatterns(texts...)
}

// asPattern reads one pattern, which may not exclude.
func asPattern(v any) (Patterns, error) {
	text, err := asString(v)
	if err != nil {
		return nil, err
	}
	p, err := ParsePatterns(text)
	if err == nil && p[0].exclude {
		return nil, errors.New(`must not begin with "!"`)
	}
	return p, err
}

// option is one of the words that a key may be.
type option[T any] struct {
	word  string
	value T
}

// oneOf reads one of some words.
func oneOf[T any](options ...option[T]) func(any) (T, error) {
	return func(v any) (T, error) {
		word, _ := v.(string)
		var words []string
		for _, o := range options {
			if o.word == word {
				return o.value, nil
			}
			words = append(words, strconv.Quote(o.word))
		}
		var none T
		return none, fmt.Errorf("must be one of %s", strings.Join(words, ", "))
	}
}

// asWord is oneOf for words that stand for themselves.
func asWord[T ~string](words ...T) func(any) (T, error) {
	var options []option[T]
	for _, w := range words {
		options = append(options, option[T]{string(w), w})
	}
	return oneOf(options...)
}

// asWords reads an array of some words.
func asWords(words ...string) func(any) ([]string, error) {
	return func(v any) ([]string, error) {
		list, err := asStrings(v)
		if err != nil {
			return nil, err
		}
		for _, w := range list {
			if !slices.Contains(words, w) {
				return nil, fmt.Errorf("%q is not one of %s", w, strings.Join(words, ", "))
			}
		}
		return list, nil
	}
}

// asPins reads base64 of SHA-256 sums (RFC 7469, 2.4) into its one usual spelling.
func asPins(v any) ([]string, error) {
	list, err := asStrings(v)
	if err != nil {
		return nil, err
	}
	for i, pin := range list {
		sum, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(pin, "="))
		if err != nil || len(sum) != 32 {
			return nil, fmt.Errorf("%q is not the base64 of a SHA-256 sum", pin)
		}
		list[i] = base64.StdEncoding.EncodeToString(sum)
	}
	return list, nil
}

// asDuration reads a duration greater than zero.
func asDuration(v any) (time.Duration, error) {
	s, ok := v.(string)
	d, good := parseDuration(s)
	if !ok || !good || d <= 0 {
		return 0, errors.New(`must be a duration greater than zero, as "45s", "10m", "2h" or "7d"`)
	}
	return d, nil
}

// parseDuration is time.ParseDuration with whole days and weeks.
func parseDuration(s string) (time.Duration, bool) {
	for suffix, unit := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		if digits, ok := strings.CutSuffix(s, suffix); ok {
			n, err := strconv.ParseUint(digits, 10, 31)
			if err != nil || n > uint64(math.MaxInt64/unit) {
				return 0, false
			}
			return time.Duration(n) * unit, true
		}
	}
	d, err := time.ParseDuration(s)
	return d, err == nil
}

var units = map[string]float64{
	"": 1, "B": 1,
	"K": 1e3, "KB": 1e3, "KIB": 1 << 10,
	"M": 1e6, "MB": 1e6, "MIB": 1 << 20,
	"G": 1e9, "GB": 1e9, "GIB": 1 << 30,
}

// asSize reads a size in octets: "5MB", "512 KiB", "1.5GB", or a plain number.
func asSize(v any) (int64, error) {
	var n float64
	switch v := v.(type) {
	case int64:
		n = float64(v)
	case string:
		end := strings.LastIndexAny(v, "0123456789.") + 1
		f, err := strconv.ParseFloat(v[:end], 64)
		unit, ok := units[strings.ToUpper(strings.TrimSpace(v[end:]))]
		if err != nil || !ok {
			n = -1
		} else {
			n = f * unit
		}
	default:
		n = -1
	}
	if !(n >= 0 && n <= 1<<50) { // as it stands for NaN, too
		return 0, errors.New(`must be a size, as "5MB", "512KiB" or "0" for none`)
	}
	return int64(n), nil
}

// asRecent reads an age ("90d") or a count ("500" or 500).
func asRecent(v any) (Recent, error) {
	var r Recent
	switch v := v.(type) {
	case int64:
		if v >= 0 && v <= math.MaxInt32 {
			return Recent{Count: int(v)}, nil
		}
	case string:
		if n, err := strconv.ParseUint(v, 10, 31); err == nil {
			return Recent{Count: int(n)}, nil
		}
		if d, ok := parseDuration(v); ok && d > 0 {
			return Recent{Age: d}, nil
		}
	}
	return r, errors.New(`must be an age, as "90d", or a count, as "500", or "0" for all`)
}

package maildir

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestPartsOfFolderNamesBecomeDirectories(t *testing.T) {
	for _, test := range []struct{ part, dir string }{
		// ordinary ones appear as they are
		{"Archive", "Archive"},
		{"Sent Items", "Sent Items"},
		{"Entwürfe", "Entwürfe"},
		{"受信箱", "受信箱"},
		{"[Gmail]", "[Gmail]"},
		{"a.b", "a.b"},
		{"100%", "100%"},
		{"50%20off", "50%20off"},
		{"a%41b", "a%41b"},
		{"-rf", "-rf"},
		{"New", "New"},
		// odd ones are escaped
		{"", "%"},
		{".", "%2E"},
		{"..", "%2E%2E"},
		{"...", "%2E.%2E"},
		{".hidden", "%2Ehidden"},
		{"cur", "%63ur"},
		{"new", "%6Eew"},
		{"tmp", "%74mp"},
		{"dovecot-keywords", "%64ovecot-keywords"},
		{"a/b", "a%2Fb"},
		{"a\x00b", "a%00b"},
		{"a\nb", "a%0Ab"},
		{"a\x1b[31m", "a%1B[31m"},
		{"a\u0085b", "a%C2%85b"},
		{"trailing ", "trailing%20"},
		{"trailing.", "trailing%2E"},
		{".50%", "%2E50%25"},
		// and what looks like an escaped one
		{"%", "%25"},
		{"%2Ehidden", "%252Ehidden"},
		{"%252Ehidden", "%25252Ehidden"},
		{"%2ehidden", "%2ehidden"},
		// or a short form
		{"work%~0123456789abcdef0123456789abcdef", "work%25~0123456789abcdef0123456789abcdef"},
		{"work%25~0123456789abcdef0123456789abcdef", "work%2525~0123456789abcdef0123456789abcdef"},
		{"work%~0123456789abcdef0123456789abcdeF", "work%~0123456789abcdef0123456789abcdeF"},
	} {
		if dir := encodePart(test.part); dir != test.dir {
			t.Errorf("encodePart(%q) = %q, want %q", test.part, dir, test.dir)
		}
		if part, ok := decodePart(test.dir); !ok || part != test.part {
			t.Errorf("decodePart(%q) = %q, %v; want %q", test.dir, part, ok, test.part)
		}
	}
	for _, dir := range []string{"", ".", "..", ".git", "cur", "trailing ", "a\nb", "%61", short("x")} {
		part, ok := decodePart(dir)
		if dir == "%61" { // no encoder's work, so it is what it looks like
			ok = !(ok && part == dir)
		}
		if ok {
			t.Errorf("decodePart(%q) = %q; want none", dir, part)
		}
	}
}

// checkPart holds what must be true of any part at all.
func checkPart(t interface{ Fatalf(string, ...any) }, part string) {
	dir := encodePart(part)
	if dir == "" || dir[0] == '.' || isShort(dir) || strings.ContainsAny(dir, "/\x00\n\r\x1b") {
		t.Fatalf("encodePart(%q) = %q, which is no safe directory", part, dir)
	}
	if dir == "cur" || dir == "new" || dir == "tmp" {
		t.Fatalf("encodePart(%q) = %q, which is no folder", part, dir)
	}
	if back, ok := decodePart(dir); !ok || back != part {
		t.Fatalf("decodePart(encodePart(%q)) = %q, %v, by way of %q", part, back, ok, dir)
	}
}

// checkDir holds what must be true of any directory at all.
func checkDir(t interface{ Fatalf(string, ...any) }, dir string) {
	part, ok := decodePart(dir)
	if !ok {
		if !odd(dir) && !isShort(dir) {
			t.Fatalf("directory %q has an ordinary name and is no folder", dir)
		}
		return
	}
	if back := encodePart(part); back != dir {
		t.Fatalf("encodePart(decodePart(%q)) = %q, by way of %q", dir, back, part)
	}
}

// anyPart makes names of what the encoder has to think about.
var anyPart = rapid.OneOf(
	rapid.String(),
	rapid.Custom(func(t *rapid.T) string {
		bits := rapid.SampledFrom([]string{"%", "25", "2E", "2F", "00", "63", "ur", "cur", "C2", "85", ".", " ", "/", "\xc2", "\x85", "é", "x", "\n",
			"%~0123456789abcdef0123456789abcdef", "&", "-", "AC4", ".mailtwin"})
		return strings.Join(rapid.SliceOfN(bits, 0, 12).Draw(t, "bits"), "")
	}),
)

func TestPartsAndDirectoriesAreOneToOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := anyPart.Draw(t, "text")
		checkPart(t, text)
		checkDir(t, text)
	})
}

func FuzzParts(f *testing.F) {
	for _, s := range []string{"", "%", "cur", "..", "%2E", "%252E", "a/b", "\xc2\x85", "trailing "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		checkPart(t, text)
		checkDir(t, text)
	})
}

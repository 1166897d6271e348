package maildir

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"mailtwin/conflict/mail"
)

// work is the meaning of letters in these tests: a and c are words, d is $Forwarded.
var work = mail.Letters{0: "work", 2: "$Junk", 3: "$Forwarded"}

func flags(names ...string) mail.Flags { return mail.ParseFlags(names) }

func TestFileNamesSayFlags(t *testing.T) {
	for _, test := range []struct {
		name string
		key  mail.Key
		want mail.Flags
	}{
		{"1.a.host", "1.a.host", flags()},
		{"1.a.host:2,", "1.a.host", flags()},
		{"1.a.host:2,S", "1.a.host", flags(`\Seen`)},
		{"1.a.host:2,DFPRST", "1.a.host", flags(`\Draft`, `\Flagged`, "$Forwarded", `\Answered`, `\Seen`, `\Deleted`)},
		{"1.a.host,S=123,U=12:2,TS", "1.a.host,S=123,U=12", flags(`\Seen`, `\Deleted`)},
		{"1.a.host:2,Sac", "1.a.host", flags(`\Seen`, "work", "$Junk")},
		{"1.a.host:2,Sb", "1.a.host", flags(`\Seen`)}, // b means nothing
		{"1.a.host:2,d", "1.a.host", flags("$Forwarded")},
		{"1.a.host:2,S,Ta", "1.a.host", flags(`\Seen`)}, // flags end at the comma
		{"1.a.host:1,S", "1.a.host:1,S", flags()},       // experimental info is no flags
		{"1.a.host:2", "1.a.host:2", flags()},
		{"1.a:2,S:2,F", "1.a", flags(`\Seen`)},
		{"odd\nname\xff:2,S", "odd\nname\xff", flags(`\Seen`)},
	} {
		key, letters, _ := splitName(test.name)
		if key != test.key {
			t.Errorf("%q: key %q, want %q", test.name, key, test.key)
		}
		if got := flagsOf(letters, &work); !got.Equal(test.want) {
			t.Errorf("%q: flags %v, want %v", test.name, got, test.want)
		}
	}
}

func TestNewFlagsKeepTheRestOfTheName(t *testing.T) {
	for _, test := range []struct {
		name  string
		flags mail.Flags
		want  string
	}{
		{"k", flags(), "k:2,"},
		{"k", flags(`\Seen`), "k:2,S"},
		{"k:2,", flags(`\Seen`, `\Flagged`, "work"), "k:2,FSa"},
		{"k:2,FSa", flags(), "k:2,"},
		{"k:2,XSbz", flags(`\Flagged`), "k:2,FXbz"}, // X, b and z mean nothing and stay
		{"k:2,S,more", flags(`\Answered`), "k:2,R,more"},
		{"k:2,S\xff-", flags(), "k:2,\xff-"},
		{"k:2,SS", flags(`\Seen`), "k:2,S"},
		{"k:2,", flags("unheard-of"), "k:2,"}, // has no letter
		{"k:2,a", flags("WORK"), "k:2,a"},
		{"k:2,d", flags("$Forwarded"), "k:2,Pd"},
		{"k:2,Pd", flags(), "k:2,"},
	} {
		if got := nameWith(test.name, test.flags, &work); got != test.want {
			t.Errorf("%q with %v: %q, want %q", test.name, test.flags, got, test.want)
		}
	}
}

func TestOneOfSeveralLettersForAWordIsEnough(t *testing.T) {
	twice := mail.Letters{1: "work", 4: "Work"}
	for name, want := range map[string]string{"k": "k:2,b", "k:2,e": "k:2,e", "k:2,be": "k:2,be"} {
		if got := nameWith(name, flags("work"), &twice); got != want {
			t.Errorf("%q with work: %q, want %q", name, got, want)
		}
	}
	if got := nameWith("k:2,be", flags(), &twice); got != "k:2," {
		t.Errorf("without work: %q", got)
	}
}

// checkFileName holds what must be true of any name and any flags that have letters.
func checkFileName(t interface{ Fatalf(string, ...any) }, name string, f mail.Flags) {
	again := nameWith(name, f, &work)
	key, letters, rest := splitName(name)
	key2, letters2, rest2 := splitName(again)
	if key != key2 || rest != rest2 {
		t.Fatalf("%q with %v became %q", name, f, again)
	}
	if got := flagsOf(letters2, &work); !got.Equal(f) {
		t.Fatalf("%q with %v became %q, which says %v", name, f, again, got)
	}
	for i := range len(letters) {
		c := letters[i]
		known := strings.IndexByte("DFPRSTacd", c) >= 0
		if !known && strings.IndexByte(letters2, c) < 0 {
			t.Fatalf("%q with %v became %q and lost %q", name, f, again, c)
		}
	}
	if twice := nameWith(again, f, &work); twice != again {
		t.Fatalf("%q with %v became %q and then %q", name, f, again, twice)
	}
}

func anyFlags(bits uint8) mail.Flags {
	f := mail.Flags{System: mail.System(bits) & 63}
	if bits&64 != 0 {
		f = f.With(flags("work"))
	}
	if bits&128 != 0 {
		f = f.With(flags("$Junk"))
	}
	return f
}

func TestRenamesSayTheFlagsAndLoseNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		checkFileName(t, rapid.StringMatching(`[a-z0-9.,:=]{0,12}(:2,[A-Za-z0-9,;:\x80-\xff]{0,12})?`).Draw(t, "name"),
			anyFlags(rapid.Uint8().Draw(t, "flags")))
	})
}

func FuzzFileName(f *testing.F) {
	for _, s := range []string{"", "k", "k:2,S", "k:2,Sab,rest", ":2,", "k:2,\xff\xfe"} {
		f.Add(s, uint8(65))
	}
	f.Fuzz(func(t *testing.T, name string, bits uint8) { checkFileName(t, name, anyFlags(bits)) })
}

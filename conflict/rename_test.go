package conflict

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"mailtwin/conflict/mail"
)

func TestRecognise(t *testing.T) {
	byMessages := func(was, is mail.Folder) Likeness {
		return Likeness{Was: was, Is: is, SameNumbers: true, Asked: 16, Found: 16, Equal: 16, Had: 90, Has: 95}
	}
	with := func(l Likeness, change func(*Likeness)) Likeness { change(&l); return l }
	for name, c := range map[string]struct {
		all  []Likeness
		want string
	}{
		"nothing":     {nil, ""},
		"the same id": {[]Likeness{{Was: "A", Is: "B", SameID: true}}, "A=B"},
		"another id, and the same messages": {
			[]Likeness{with(byMessages("A", "B"), func(l *Likeness) { l.OtherID = true })}, ""},
		"no id, and no messages": {[]Likeness{{Was: "A", Is: "B", SameNumbers: true}}, ""},
		"the same messages":      {[]Likeness{byMessages("A", "B")}, "A=B"},
		"some were removed meanwhile": {
			[]Likeness{with(byMessages("A", "B"), func(l *Likeness) { l.Found, l.Equal = 8, 8 })}, "A=B"},
		"most were": {
			[]Likeness{with(byMessages("A", "B"), func(l *Likeness) { l.Found, l.Equal = 7, 7 })}, ""},
		"another message has the UID of one": {
			[]Likeness{with(byMessages("A", "B"), func(l *Likeness) { l.Equal = 15 })}, ""},
		"numbered anew": {
			[]Likeness{with(byMessages("A", "B"), func(l *Likeness) { l.SameNumbers, l.Found, l.Equal = false, 12, 12 })}, "A=B"},
		"numbered anew, and too much is new": {
			[]Likeness{with(byMessages("A", "B"), func(l *Likeness) { l.SameNumbers, l.Found, l.Equal = false, 11, 11 })}, ""},
		"numbered anew, and too little is there": {
			[]Likeness{with(byMessages("A", "B"), func(l *Likeness) { l.SameNumbers, l.Has = false, 44 })}, ""},
		"two with the same messages":        {[]Likeness{byMessages("A", "B"), byMessages("A", "C")}, ""},
		"two that had the same messages":    {[]Likeness{byMessages("A", "C"), byMessages("B", "C")}, ""},
		"an id goes before messages":        {[]Likeness{byMessages("A", "B"), {Was: "A", Is: "C", SameID: true}}, "A=C"},
		"and takes the name":                {[]Likeness{byMessages("A", "C"), {Was: "B", Is: "C", SameID: true}}, "B=C"},
		"a copy, and the original renamed":  {[]Likeness{{Was: "A", Is: "B", SameID: true}, {Was: "A", Is: "C", SameID: true, SamePlace: true}}, "A=C"},
		"two copies, and the original gone": {[]Likeness{{Was: "A", Is: "C", SameID: true}, {Was: "A", Is: "B", SameID: true}}, "A=B"},
		"two that swapped names":            {[]Likeness{{Was: "A", Is: "B", SameID: true}, {Was: "B", Is: "A", SameID: true}}, "A=B B=A"},
		"INBOX stays":                       {[]Likeness{{Was: "INBOX", Is: "B", SameID: true}}, ""},
		"and nothing becomes INBOX":         {[]Likeness{{Was: "A", Is: "INBOX", SameID: true}}, ""},
	} {
		found := Recognise(c.all)
		var got []string
		for _, was := range slices.Sorted(maps.Keys(found)) {
			got = append(got, fmt.Sprintf("%s=%s", was, found[was]))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %q", name, got, c.want)
		}
	}
}

// Whatever is alike, no folder becomes two, no two become one, the order in which the
// likenesses come makes no difference, and no pair is made that nothing speaks for.
func TestRecogniseIsOneToOne(t *testing.T) {
	names := rapid.SampledFrom([]mail.Folder{"A", "B", "C", "D", mail.Inbox})
	rapid.Check(t, func(t *rapid.T) {
		seen := map[[2]mail.Folder]bool{}
		var all []Likeness
		for range rapid.IntRange(0, 10).Draw(t, "pairs") {
			l := Likeness{
				Was: names.Draw(t, "was"), Is: names.Draw(t, "is"),
				SameID: rapid.Bool().Draw(t, "same id"), SamePlace: rapid.Bool().Draw(t, "same place"),
				SameNumbers: rapid.Bool().Draw(t, "same numbers"),
				Asked:       rapid.IntRange(0, 4).Draw(t, "asked"), Had: 4, Has: rapid.IntRange(0, 4).Draw(t, "has"),
			}
			l.OtherID = !l.SameID && rapid.Bool().Draw(t, "other id")
			l.Found = rapid.IntRange(0, l.Asked).Draw(t, "found")
			l.Equal = rapid.IntRange(0, l.Found).Draw(t, "equal")
			if pair := [2]mail.Folder{l.Was, l.Is}; !seen[pair] {
				seen[pair] = true
				all = append(all, l)
			}
		}
		found := Recognise(all)
		taken := map[mail.Folder]bool{}
		for was, is := range found {
			if taken[is] || was == mail.Inbox || is == mail.Inbox {
				t.Fatalf("%v", found)
			}
			taken[is] = true
			i := slices.IndexFunc(all, func(l Likeness) bool { return l.Was == was && l.Is == is })
			if i < 0 || all[i].OtherID || !all[i].SameID && all[i].Equal == 0 {
				t.Fatalf("nothing speaks for %s=%s in %+v", was, is, all)
			}
		}
		slices.Reverse(all)
		if again := Recognise(all); !maps.Equal(again, found) {
			t.Fatalf("%v, and in the other order %v", found, again)
		}
	})
}

func TestTheNameOfAFolder(t *testing.T) {
	both := Whereabouts{MayLocal: true, MayRemote: true}
	for name, c := range map[string]struct {
		local, remote mail.Folder
		may           Whereabouts
		want          mail.Folder
		overruled     mail.Folder
	}{
		"as it was":                             {"A", "A", both, "A", ""},
		"renamed here":                          {"B", "A", both, "B", ""},
		"renamed there":                         {"A", "B", both, "B", ""},
		"to the same name":                      {"B", "B", both, "B", ""},
		"to two names":                          {"B", "C", both, "C", "B"},
		"to two, and only the server may":       {"B", "C", Whereabouts{MayRemote: true}, "B", "C"},
		"to two, and only the Maildir may":      {"B", "C", Whereabouts{MayLocal: true}, "C", "B"},
		"renamed here, deleted there":           {"B", "", both, "B", ""},
		"renamed there, deleted here":           {"", "B", both, "B", ""},
		"gone from both":                        {"", "", both, "", ""},
		"a swap that was interrupted there":     {"B", mail.Folder("A").Interim(), both, "B", ""},
		"a swap that was interrupted here":      {mail.Folder("A").Interim(), "B", both, "B", ""},
		"interrupted, and deleted on the other": {mail.Folder("A").Interim(), "", both, mail.Folder("A").Interim(), ""},
	} {
		c.may.Name, c.may.Local, c.may.Remote = "A", c.local, c.remote
		if got, overruled := c.may.Decide(); got != c.want || overruled != c.overruled {
			t.Errorf("%s: %q over %q, want %q over %q", name, got, overruled, c.want, c.overruled)
		}
	}
}

// text writes steps as "A>B C>D".
func text(steps []Step) string {
	var out []string
	for _, s := range steps {
		out = append(out, string(s.From+">"+s.To))
	}
	return strings.Join(out, " ")
}

func TestRoute(t *testing.T) {
	for name, c := range map[string]struct {
		wanted         []Step
		taken          string // besides the names that steps begin from
		steps, blocked string
	}{
		"one":                        {[]Step{{"A", "B"}}, "", "A>B", ""},
		"something is in the way":    {[]Step{{"A", "B"}}, "B", "", "A>B"},
		"a chain":                    {[]Step{{"A", "B"}, {"B", "C"}}, "", "B>C A>B", ""},
		"a chain that is blocked":    {[]Step{{"A", "B"}, {"B", "C"}}, "C", "", "A>B B>C"},
		"a swap":                     {[]Step{{"A", "B"}, {"B", "A"}}, "", "B>B~mailtwin A>B B~mailtwin>A", ""},
		"three in a circle":          {[]Step{{"A", "B"}, {"B", "C"}, {"C", "A"}}, "", "C>C~mailtwin B>C A>B C~mailtwin>A", ""},
		"one waits for a circle":     {[]Step{{"A", "B"}, {"B", "A"}, {"X", "A"}}, "", "B>B~mailtwin A>B B~mailtwin>A", ""},
		"what lies in it waits":      {[]Step{{"A/x", "B/x"}, {"A", "B"}, {"A/y", "C"}}, "", "A>B", ""},
		"around the one it lay in":   {[]Step{{"A", "B/A"}, {"A/x", "B"}}, "", "A/x>B", ""},
		"into another one":           {[]Step{{"A", "B/A"}}, "B", "A>B/A", ""},
		"into itself":                {[]Step{{"A", "A/x"}}, "", "A>A~mailtwin A~mailtwin>A/x", ""},
		"inside out":                 {[]Step{{"A", "A/x"}, {"A/x", "A"}}, "", "A>A~mailtwin", ""},
		"inside out, and further":    {[]Step{{"A~mailtwin", "A/x"}, {"A~mailtwin/x", "A"}}, "", "A~mailtwin/x>A", ""},
		"into itself, and no room":   {[]Step{{"A", "A/x"}}, "A~mailtwin", "", "A>A/x"},
		"around what goes elsewhere": {[]Step{{"0", "B/x"}, {"A", "B"}}, "", "A>B", ""},
	} {
		steps, blocked := Route(c.wanted, func(name mail.Folder) bool {
			return slices.ContainsFunc(c.wanted, func(s Step) bool { return s.From == name }) ||
				slices.Contains(strings.Fields(c.taken), string(name))
		})
		if text(steps) != c.steps || text(blocked) != c.blocked {
			t.Errorf("%s: %q, blocked %q; want %q, blocked %q", name, text(steps), text(blocked), c.steps, c.blocked)
		}
	}
}

// Whatever is wanted, and whether what lies in a folder goes along or not: no step goes
// over a folder that is there, and it comes to an end. Where none lies in another one,
// each has the name then that it is to have.
func TestRouteArrives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := []mail.Folder{"A", "B", "C", "D", "E", "F", "G"}
		nested := rapid.Bool().Draw(t, "nested")
		if nested {
			names = []mail.Folder{"A", "B", "C", "D", "A/x", "B/x", "A/x/y"}
		}
		goals := map[mail.Folder]mail.Folder{} // by where they stand now
		from, to := rapid.Permutation(names).Draw(t, "from"), rapid.Permutation(names).Draw(t, "to")
		for i := range rapid.IntRange(0, len(names)).Draw(t, "folders") {
			goals[from[i]] = to[i]
		}
		along := rapid.Bool().Draw(t, "along")
		var log []Step
		for round := 0; ; round++ {
			var wanted []Step
			for at, goal := range goals {
				if at != goal {
					wanted = append(wanted, Step{at, goal})
				}
			}
			if len(wanted) == 0 {
				return
			}
			steps, blocked := Route(wanted, func(name mail.Folder) bool { return goals[name] != "" })
			if nested && len(steps) == 0 && len(blocked) > 0 {
				return // they are told of
			}
			if round > 20 || len(blocked) > 0 || len(steps) == 0 {
				t.Fatalf("%v are where they stand, blocked %v, after %v", goals, blocked, log)
			}
			log = append(log, steps...)
			for _, s := range steps {
				moves := map[mail.Folder]mail.Folder{s.From: s.To}
				for name := range goals {
					if along && name.Inside(s.From) {
						moves[name] = s.To + name[len(s.From):]
					}
				}
				if goals[s.From] == "" || s.To.Inside(s.From) {
					t.Fatalf("%v cannot be done in %v, after %v", s, goals, log)
				}
				moved := map[mail.Folder]mail.Folder{}
				for name, as := range moves {
					moved[as] = goals[name]
					delete(goals, name)
				}
				for as, goal := range moved {
					if goals[as] != "" && as != s.To {
						return // what lies in both folders is in each other's way: it is refused
					}
					if goals[as] != "" {
						t.Fatalf("%v goes over %s, after %v", s, as, log)
					}
					goals[as] = goal
				}
			}
		}
	})
}

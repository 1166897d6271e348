package conflict

import (
	"testing"

	"mailtwin/conflict/mail"
)

func TestTheFateOfAVanishedFolder(t *testing.T) {
	for name, c := range map[string]struct {
		v    Vanished
		want Fate
	}{
		"empty":                            {Vanished{Remove: true}, Follow},
		"empty, and none may be removed":   {Vanished{}, Stay},
		"empty now, but not since base":    {Vanished{Remove: true, Changed: true}, Await},
		"with mail":                        {Vanished{Remove: true, Messages: 1}, Await},
		"with mail, and consent":           {Vanished{Remove: true, Messages: 9, Changed: true, Allowed: true}, Follow},
		"empty, and left out":              {Vanished{Remove: true, LeftOut: true}, Forget},
		"with mail, and left out":          {Vanished{Remove: true, LeftOut: true, Messages: 9, Allowed: true}, Forget},
		"consent, but none may be removed": {Vanished{Messages: 9, Allowed: true}, Stay},
	} {
		for _, gone := range []mail.Side{mail.Local, mail.Remote} {
			c.v.Gone = gone
			if got := c.v.Decide(); got != c.want {
				t.Errorf("%s, gone on the %s side: %d, want %d", name, gone, got, c.want)
			}
		}
	}
}

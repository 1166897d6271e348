package remote

import (
	"errors"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
)

func TestATunnelIsAConnection(t *testing.T) {
	const program = `printf '* PREAUTH [CAPABILITY IMAP4rev1 UIDPLUS] hello\r\n'
while read -r tag command rest; do
	case $command in
	LIST*) printf '* LIST () "/" INBOX\r\n' ;;
	STATUS*) printf '* STATUS INBOX (MESSAGES 3 UIDNEXT 9 UIDVALIDITY 7)\r\n' ;;
	esac
	printf '%s OK\r\n' "$tag"
done`
	a := open(t, Options{Tunnel: []string{"sh", "-c", program}})
	got, _ := listOf(t, a)
	if got["INBOX"].Status.Messages != 3 || !a.Abilities().UIDPlus {
		t.Errorf("the folders are %+v", got)
	}
}

func TestATunnelThatDoesNotStand(t *testing.T) {
	for name, argv := range map[string][]string{
		"no such program":         {"/nowhere/ssh"},
		"it ends with a word":     {"sh", "-c", "echo no route to host >&2"},
		"it says what is no IMAP": {"echo", "hello"},
	} {
		t.Run(name, func(t *testing.T) {
			err := folders(t, open(t, Options{Tunnel: argv}))
			if !errors.Is(err, mail.ErrUnreachable) {
				t.Errorf("the error is %v", err)
			}
			if argv[0] == "sh" && !strings.Contains(err.Error(), "no route to host") {
				t.Errorf("the error reads %v", err)
			}
		})
	}
}

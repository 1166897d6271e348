package mail

import "errors"

// What went wrong, as far as a caller decides on it. The rooms wrap these with what
// they were doing; test with errors.Is.
var (
	// ErrUnreachable: the server could not be reached, went away, or said nothing
	// for too long. Trying later may help.
	ErrUnreachable = errors.New("server unreachable")
	// ErrUntrusted: the server is not proved to be the one that was configured (a
	// certificate that does not verify, a wrong pin, a stripped STARTTLS). No
	// credential was sent.
	ErrUntrusted = errors.New("server not trusted")
	// ErrLogin: the server refused the login.
	ErrLogin = errors.New("login refused")
	// ErrRefused: the server said NO or BAD to one command; the session lives on.
	ErrRefused = errors.New("refused by the server")
	// ErrTryLater: ErrRefused for a reason that passes ([INUSE], [UNAVAILABLE],
	// [LIMIT], throttling). An error that is ErrTryLater is ErrRefused, too.
	ErrTryLater = errors.New("the server asks to try later")
	// ErrOverQuota: ErrRefused because the account, or the folder, is full ([OVERQUOTA]).
	ErrOverQuota = errors.New("over quota")
	// ErrBrokeOff: ErrUnreachable while a message was on its way to the server, which may
	// be its way to refuse it.
	ErrBrokeOff = errors.New("the connection broke off")
	// ErrRestarted: the folder's UIDVALIDITY is not the one that UIDs were named
	// under. Nothing was done.
	ErrRestarted = errors.New("UIDVALIDITY changed")
	// ErrReadOnly: the folder can be read only.
	ErrReadOnly = errors.New("folder is read-only")
	// ErrGone: the file, message or folder is no longer there under that name.
	ErrGone = errors.New("no longer there")
	// ErrChanged: the file's content is not what it was when it was looked at.
	ErrChanged = errors.New("changed meanwhile")
	// ErrExists: the folder that was to be made is there already.
	ErrExists = errors.New("already there")
	// ErrMissing: the Maildir itself is not there, or is no Maildir.
	ErrMissing = errors.New("maildir missing")
	// ErrLayout: the Maildir names its directories in another way than it is opened with.
	ErrLayout = errors.New("another Maildir layout")
	// ErrNoLinks: the file system gives no file a second name.
	ErrNoLinks = errors.New("no hard links")
	// ErrNoSpace: the disk, or the quota on it, is full.
	ErrNoSpace = errors.New("no space left")
	// ErrDamaged: a message or a state that cannot be read as what it should be.
	ErrDamaged = errors.New("damaged")
	// ErrState: base itself is damaged. An error that is ErrState is ErrDamaged, too.
	ErrState = errors.New("state database")
)

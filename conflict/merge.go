package conflict

import "mailtwin/conflict/mail"

// Merge brings two changed sets of flags together, flag by flag: what one side
// changed since base is taken from there, and what both changed they changed alike,
// since a flag is set or it is not.
func Merge(base, local, remote mail.Flags) mail.Flags {
	set := local.Without(base).With(remote.Without(base))
	cleared := base.Without(local).With(base.Without(remote))
	return base.With(set).Without(cleared)
}

// Revives tells whether a change of flags says that somebody wants a message which
// the other side removed: \Flagged newly set, or \Deleted taken back. Reading or
// answering a message, or a program's keywords, say nothing of the kind.
func Revives(before, after mail.Flags) bool {
	flagged := after.Has(mail.Flagged) && !before.Has(mail.Flagged)
	rescued := before.Has(mail.Deleted) && !after.Has(mail.Deleted)
	return flagged || rescued
}

package sync

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"mailtwin/conflict/mail"
)

// reportWaiting reports the messages that an earlier run set aside, and whose time to
// be tried again has not come: as long as they wait, not all is in step, and who looks
// at this run alone is to know.
func (r *run) reportWaiting(ctx context.Context) error {
	before := map[mail.RowID]int{}
	for _, rows := range r.unsettled {
		for _, row := range rows {
			if row.State == mail.Pending {
				before[row.ID] = row.Tries
			}
		}
	}
	if len(before) == 0 {
		return nil
	}
	rows, err := r.State.Unsettled(ctx)
	if err != nil {
		return fmt.Errorf("read the state: %w", err)
	}
	waiting := map[mail.FolderID][]mail.Row{}
	for _, row := range rows {
		// One with more tries was tried, and reported, by this run.
		// One that is due and was not tried is one whose file could not be found.
		if tries, ok := before[row.ID]; ok && row.State == mail.Pending && row.Tries == tries && row.RetryAt.After(r.Now()) {
			waiting[row.Folder] = append(waiting[row.Folder], row)
		}
	}
	for _, f := range r.usable(func(f *folder) bool { return len(waiting[f.base.ID]) > 0 && r.wanted(f.name) }) {
		var files []string
		var next time.Time
		for _, row := range waiting[f.base.ID] {
			files = append(files, nameOf(row))
			if next.IsZero() || row.RetryAt.Before(next) {
				next = row.RetryAt
			}
		}
		verb := "waits"
		if len(files) > 1 {
			verb = "wait"
		}
		r.problem(f, fmt.Errorf("%s %s: %s", names(files), verb, waiting[f.base.ID][0].Why), "the next try is after "+localTime(next))
	}
	return nil
}

// nameOf is what to call a row's message in a line for people.
func nameOf(row mail.Row) string {
	if row.Name != "" {
		return row.Name
	}
	return "UID " + strconv.FormatUint(uint64(row.UID), 10)
}

// maxNames bounds how many messages a line names.
const maxNames = 5

// names lists what messages are called.
func names(all []string) string {
	var quoted []string
	for _, name := range all[:min(len(all), maxNames)] {
		quoted = append(quoted, strconv.Quote(name))
	}
	list := strings.Join(quoted, ", ")
	if more := len(all) - maxNames; more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	return list
}

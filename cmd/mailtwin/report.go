package main

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	engine "mailtwin/sync"
)

// syncReport is the document of `sync --json`.
type syncReport struct {
	Accounts []accountReport `json:"accounts"`
}

type accountReport struct {
	Name        string          `json:"name"`
	OK          bool            `json:"ok"`
	Error       *string         `json:"error"` // all that went wrong; null where nothing did
	DurationMS  int64           `json:"duration_ms"`
	Folders     int             `json:"folders"`
	Local       engine.Counts   `json:"local"`
	Remote      engine.Counts   `json:"remote"`
	Conflicts   int             `json:"conflicts"`
	Skipped     []skippedReport `json:"skipped"`
	BytesIn     int64           `json:"bytes_in"`
	BytesOut    int64           `json:"bytes_out"`
	RoundTrips  int             `json:"round_trips"`
	Connections int             `json:"connections"`
}

type skippedReport struct {
	Folder string `json:"folder"`
	Reason string `json:"reason"`
}

// runRecord is what is kept of a run for `status`.
type runRecord struct {
	accountReport
	Held  []heldReport `json:"held"`
	Whole bool         `json:"whole"` // it was one of all folders
	// InStep is when a run last went through all folders, and Behind are those that it
	// left not quite in step, and when they last were. Most folders are found unchanged
	// most of the time, which is not worth a write for each.
	InStep *time.Time            `json:"in_step"`
	Behind map[string]*time.Time `json:"behind"`
}

// heldReport are the removals of one folder that wait for consent, or the folder itself.
type heldReport struct {
	Folder   string `json:"folder"`
	Messages int    `json:"messages"`
	Why      string `json:"why"`
}

// newRunRecord makes the record of a run that follows on another one. whole: it was one
// of all folders.
func newRunRecord(o outcome, finished time.Time, whole bool, before runRecord) runRecord {
	r := runRecord{accountReport: newAccountReport(o), Whole: whole, InStep: before.InStep, Behind: before.Behind}
	for _, h := range o.report.Held {
		r.Held = append(r.Held, heldReport{clean(string(h.Folder)), h.Count, clean(h.Why)})
	}
	if whole && o.err == nil {
		r.InStep, r.Behind = when(finished.Truncate(time.Second)), map[string]*time.Time{}
		for _, f := range o.report.Behind {
			r.Behind[clean(string(f))] = before.inStep(clean(string(f)))
		}
	}
	return r
}

// readRunRecord reads a record; one that cannot be read is as if there were none.
func readRunRecord(text []byte) (r runRecord) {
	if len(text) > 0 && json.Unmarshal(text, &r) != nil {
		return runRecord{}
	}
	return r
}

// leftInStep tells when a run began that went through all folders, and left them in step; the zero
// value if it was another one.
func (l lastRun) leftInStep() time.Time {
	r := readRunRecord(l.Report)
	if !l.OK || !r.Whole || len(r.Behind) > 0 {
		return time.Time{}
	}
	return l.Started
}

// inStep tells when a folder last was in step, as far as the records go; nil: not known.
func (r runRecord) inStep(folder string) *time.Time {
	if at, behind := r.Behind[folder]; behind {
		return at
	}
	return r.InStep
}

func newSyncReport(outcomes []outcome) syncReport {
	doc := syncReport{Accounts: []accountReport{}}
	for _, o := range outcomes {
		doc.Accounts = append(doc.Accounts, newAccountReport(o))
	}
	return doc
}

func newAccountReport(o outcome) accountReport {
	r := accountReport{
		Name:       o.account,
		OK:         o.code() == exitOK,
		DurationMS: o.duration.Milliseconds(),
		Folders:    o.report.Folders,
		Local:      o.report.Local, Remote: o.report.Remote,
		Conflicts: o.report.Conflicts,
		Skipped:   []skippedReport{},
		BytesIn:   o.traffic.BytesIn, BytesOut: o.traffic.BytesOut,
		RoundTrips: o.traffic.RoundTrips, Connections: o.traffic.Connections,
	}
	for _, n := range slices.Concat(o.report.Skipped, o.report.Lost) {
		r.Skipped = append(r.Skipped, skippedReport{clean(string(n.Folder)), clean(n.Text)})
	}
	var wrong []string
	for _, c := range o.complaints() {
		wrong = append(wrong, c.String())
	}
	if len(wrong) > 0 {
		all := strings.Join(wrong, "; ")
		r.Error = &all
	}
	return r
}

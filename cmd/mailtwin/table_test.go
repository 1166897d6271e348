package main

import (
	"strings"
	"testing"
)

func TestColumnsAreAsWideAsATerminalShowsThem(t *testing.T) {
	table := table{indent: "  "}
	table.row("FOLDER", "N", "WHY")
	table.row("Entwürfe", 1, "")
	table.row("Entwu\u0308rfe", 2, "an accent of its own")
	table.row("日本/東京", 30, "two columns each")
	table.row("👩‍💻", 4, "one picture of three")
	table.row("", "", "nothing")
	var b strings.Builder
	table.print(&b)
	want := "  FOLDER     N   WHY\n" +
		"  Entwürfe   1\n" +
		"  Entwu\u0308rfe   2   an accent of its own\n" +
		"  日本/東京  30  two columns each\n" +
		"  👩‍💻         4   one picture of three\n" +
		"                 nothing\n"
	if b.String() != want {
		t.Errorf("it prints\n%s\nwant\n%s", b.String(), want)
	}
}

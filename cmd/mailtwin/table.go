package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/rivo/uniseg"
)

// table is what a command prints in columns, two spaces apart. They are as wide as a
// terminal shows them: a Chinese character takes the room of two letters, and an accent
// that follows its letter takes none.
type table struct {
	indent string
	rows   [][]string
}

// row adds a row, in the printed form of its cells.
func (t *table) row(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	t.rows = append(t.rows, row)
}

// print prints the rows, without anything invisible at their ends. Errors are those of
// w, which is Stdout: nobody could be told of them.
func (t *table) print(w io.Writer) {
	var widths []int
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], uniseg.StringWidth(cell))
		}
	}
	for _, row := range t.rows {
		line := t.indent
		for i, cell := range row {
			line += cell + strings.Repeat(" ", widths[i]-uniseg.StringWidth(cell)+2)
		}
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
}

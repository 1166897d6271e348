package main

import (
	"image/color"
	"math"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
)

// chart draws the medians of a section as bars, with whiskers from the fastest run to
// the slowest.
func (s *section) chart(path string) error {
	p := plot.New()
	p.Title.Text, p.Title.Padding = s.workload.title, vg.Points(6)
	p.X.Label.Text = "seconds"
	var names []string
	var bars plotter.Values
	var texts plotter.XYLabels
	whiskers := &whiskers{}
	longest := 0.0
	for i := len(s.workload.programs) - 1; i >= 0; i-- { // charts grow upwards
		key := s.workload.programs[i]
		runs := s.result.Runs[key]
		if len(runs) == 0 {
			continue
		}
		m, low, high := spread(runs, wall)
		names = append(names, s.view.title(key))
		texts.XYs = append(texts.XYs, plotter.XY{X: high, Y: float64(len(bars))})
		texts.Labels = append(texts.Labels, seconds(m))
		longest = max(longest, high)
		whiskers.XYs = append(whiskers.XYs, plotter.XY{X: m, Y: float64(len(bars))})
		whiskers.XErrors = append(whiskers.XErrors, struct{ Low, High float64 }{low - m, high - m})
		bars = append(bars, m)
	}
	if len(bars) == 0 {
		return nil
	}
	chart, err := plotter.NewBarChart(bars, vg.Points(22))
	if err != nil {
		return err
	}
	chart.Horizontal = true
	chart.Color = color.RGBA{R: 0x6b, G: 0x9a, B: 0xc4, A: 0xff}
	chart.LineStyle.Width = 0
	ends, err := plotter.NewXErrorBars(whiskers)
	if err != nil {
		return err
	}
	values, err := plotter.NewLabels(texts)
	if err != nil {
		return err
	}
	for i := range values.TextStyle {
		values.TextStyle[i].YAlign = text.YCenter
	}
	values.Offset.X = vg.Points(5)
	p.Add(chart, ends, values)
	p.NominalY(names...)
	p.X.Min, p.X.Max = 0, longest*1.15 // there is to be room for the text
	return p.Save(18*vg.Centimeter, font.Length(2.2+1.0*float64(len(bars)))*vg.Centimeter, path)
}

type whiskers struct {
	plotter.XYs
	plotter.XErrors
}

// chart draws a line for each kind of sync over the sizes, both axes in powers of ten.
func (c *curve) chart(path, unit string, of func(figures) float64) error {
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = c.Name, unit
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = decades{}, decades{}
	p.Add(plotter.NewGrid())
	least, most := math.Inf(1), 0.0
	for i, kind := range c.kinds {
		var line plotter.XYs
		for _, size := range c.sizes {
			runs := c.at(kind, size)
			if len(runs) == 0 {
				continue
			}
			m := math.Max(middle(runs, of), 1e-3)
			least, most = math.Min(least, m), math.Max(most, m)
			line = append(line, plotter.XY{X: float64(size), Y: m})
		}
		if len(line) == 0 {
			continue
		}
		l, dots, err := plotter.NewLinePoints(line)
		if err != nil {
			return err
		}
		l.Color, dots.Color, dots.Shape = plotutil.Color(i), plotutil.Color(i), plotutil.Shape(i)
		p.Add(l, dots)
		p.Legend.Add(kind, l, dots)
	}
	if most == 0 {
		return nil
	}
	p.Y.Min = math.Pow(10, math.Floor(math.Log10(least)))
	p.Y.Max = math.Pow(10, math.Ceil(math.Log10(most*1.01)))
	p.Legend.Top, p.Legend.Left = true, true
	return p.Save(16*vg.Centimeter, 9*vg.Centimeter, path)
}

// decades are ticks at the powers of ten, written out.
type decades struct{}

func (decades) Ticks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	for e := math.Floor(math.Log10(low)); e <= math.Ceil(math.Log10(high)); e++ {
		v := math.Pow(10, e)
		ticks = append(ticks, plot.Tick{Value: v, Label: strconv.FormatFloat(v, 'f', -1, 64)})
	}
	return ticks
}

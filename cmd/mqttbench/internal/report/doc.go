// Package report is what a benchmark has found, as JSON, as Markdown and as a picture.
//
//	r := report.Result{Scenario: "echo", Metrics: []report.Metric{{Name: report.CPU, Unit: "µs", Value: 10.9}}}
//	err := report.WriteJSON(w, r)
//	err = report.Print(w, r)                                   // for people
//	s := report.Summarize([]float64{10.9, 10.7, 11.3})         // median and spread of several rounds
//	err = report.Draw(w, report.Picture{Title: …, Bars: …})    // SVG
//
// Invariants: what is written depends only on what is given, the order included; a value that is not there is never shown as zero.
//
// # Why
//
// Median and the whole spread rather than mean and deviation: rounds are few, their outliers are other programs on the machine, and a
// reader can check both against the JSON. The picture is a template of this package because a plotting library would be the
// project's largest dependency, for rectangles and lines.
package report

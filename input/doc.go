// Package input holds the Benthos inputs that bring what Wisepops collects into
// a pipeline. Importing it registers them.
package input

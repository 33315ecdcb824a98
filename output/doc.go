// Package output holds the Benthos output that carries privacy deletions to
// Wisepops. Importing it registers it.
package output

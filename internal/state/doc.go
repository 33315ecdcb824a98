// Package state keeps what an input must not forget in a Benthos cache: a slot is one
// key of one cache, and a claim makes sure that one input of the process moves it.
package state

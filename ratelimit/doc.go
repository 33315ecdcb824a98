// Package ratelimit holds the Benthos rate limit that keeps the calls of a website
// within its budget. Importing it registers it.
package ratelimit

// Package sandbox is a stand-in of the Wisepops service: an [http.Handler] that
// answers like the API of one website, with contacts that look like a shop's.
// The tests, the demo and the benchmarks of this module run against it, and
// `wisepops-connect sandbox` serves it.
//
// What Wisepops documents is served as documented. What nobody promises (the
// order of contacts, whether a bound includes its own instant, …) is a switch
// in [Switches], so that a client can be held against either answer. Faults are
// injected through one function, see [Service.Control].
//
// Everything about past contacts follows from [Options.Seed]. The package
// shares no code with the client of the API: a stand-in that did would share
// its bugs. All email addresses, IP addresses and phone numbers are of ranges
// reserved for documentation, or are the example numbers of a country's plan.
package sandbox

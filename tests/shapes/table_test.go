package shapes_test

// shape is a pipeline between an input and a sink. What stands in capitals is
// replaced: SINK by an output that fails, INPUT by the input under test with its fields, FRONT
// by the mapping that stands in front of every pipeline.
//
// Messages reach a shape as {"id": ID, "group": "g0" to "g6", "odd": true or false},
// with the ID in their content, since a sink only knows what is written to it.
type shape struct {
	name     string
	input    string // around INPUT, "" = INPUT alone
	pipeline string // the processors, "" = none
	threads  int
	output   string // "" = SINK alone

	drops func(item) bool // what the shape drops on purpose
	times int             // how many messages become of one, told apart by "copy"; 0 = one
	slow  bool            // retries of Benthos' own wait for half a second and more
}

// The processors and outputs that several shapes use.
const (
	throwForSome = `
- mapping: 'root = if random_int() % 5 == 0 { throw("flaky enrichment") } else { this }'`
	dropOdd = `
- mapping: 'root = if this.odd { deleted() }'`
	dropOddBatching = `{ count: 150, period: 5ms, processors: [ { mapping: 'root = if this.odd { deleted() }' } ] }`
)

func odd(i item) bool { return i.odd }

var shapes = []shape{
	{name: "plain"},

	// Processors that change the form of a batch.
	{name: "split", pipeline: `
- split: { size: 7 }`},
	{name: "split into single messages", pipeline: `
- split: { size: 1 }`},
	{name: "split by bytes", pipeline: `
- split: { size: 0, byte_size: 700 }`},
	{
		name: "split, throw, reject_errored", pipeline: `
- split: { size: 7 }` + throwForSome,
		output: `reject_errored: { SINK: {} }`,
	},
	{name: "throw, reject_errored", pipeline: throwForSome, output: `reject_errored: { SINK: {} }`},
	{
		name: "throw, split, reject_errored", pipeline: throwForSome + `
- split: { size: 7 }`,
		output: `reject_errored: { SINK: {} }`,
	},
	{name: "group_by_value", pipeline: `
- group_by_value: { value: '${! this.group }' }`},
	{
		name: "group_by_value, throw, reject_errored", pipeline: `
- group_by_value: { value: '${! this.group }' }` + throwForSome,
		output: `reject_errored: { SINK: {} }`,
	},
	{name: "group_by", pipeline: `
- group_by:
    - check: this.odd
      processors: [ { mapping: 'root = this' } ]
    - check: this.group == "g2"
      processors: [ { split: { size: 3 } } ]`},
	{name: "deleted", pipeline: dropOdd, drops: odd},
	{
		name: "deleted, throw, reject_errored", pipeline: dropOdd + throwForSome,
		output: `reject_errored: { SINK: {} }`, drops: odd,
	},
	{name: "split, deleted, group_by_value", pipeline: `
- split: { size: 40 }` + dropOdd + `
- group_by_value: { value: '${! this.group }' }`, drops: odd},
	{name: "bloblang deleted after a split", pipeline: `
- split: { size: 11 }
- bloblang: 'root = if this.odd { deleted() }'`, drops: odd},
	{name: "mutation deleted", pipeline: `
- mutation: 'root = if this.odd { deleted() }'`, drops: odd},
	{name: "archive json_array", pipeline: `
- archive: { format: json_array }`},
	{name: "archive lines of groups", pipeline: `
- group_by_value: { value: '${! this.group }' }
- archive: { format: lines }`},
	{name: "split, archive json_array", pipeline: `
- split: { size: 10 }
- archive: { format: json_array }`},
	{name: "archive, unarchive", pipeline: `
- archive: { format: json_array }
- unarchive: { format: json_array }`},
	{name: "unarchive into three", times: 3, pipeline: `
- mapping: 'root = [ this.merge({"copy": 1}), this.merge({"copy": 2}), this.merge({"copy": 3}) ]'
- unarchive: { format: json_array }`},
	{name: "unarchive into three, split", times: 3, pipeline: `
- mapping: 'root = [ this.merge({"copy": 1}), this.merge({"copy": 2}), this.merge({"copy": 3}) ]'
- unarchive: { format: json_array }
- split: { size: 9 }`},
	{name: "select_parts", pipeline: `
- group_by_value: { value: '${! this.id }' }
- select_parts: { parts: [ 0 ] }`},
	{name: "insert_part", pipeline: `
- insert_part: { index: 0, content: header }`},
	{name: "bounds_check", pipeline: `
- bounds_check: { max_part_size: 1000000, max_parts: 1000 }`},
	{name: "compress, decompress", pipeline: `
- compress: { algorithm: gzip }
- decompress: { algorithm: gzip }`},

	// Processors that hold others.
	{name: "workflow", pipeline: `
- workflow:
    meta_path: ''
    branches:
      one: { request_map: root = this.group, processors: [ { mapping: 'root = content().string()' } ], result_map: root.one = content().string() }
      two: { request_map: root = this.one, processors: [ { mapping: 'root = content().string()' } ], result_map: root.two = content().string() }`},
	{
		name: "workflow, throw, reject_errored", pipeline: `
- workflow:
    meta_path: ''
    branches:
      one: { request_map: root = this, processors: [ { mapping: 'root = if random_int() % 5 == 0 { throw("flaky") }' } ], result_map: root.one = this.group }`,
		output: `reject_errored: { SINK: {} }`,
	},
	{
		name: "branch that fails, reject_errored", pipeline: `
- branch:
    processors: [ { mapping: 'root = if random_int() % 5 == 0 { throw("flaky") }' } ]
    result_map: root.from_branch = this.group`,
		output: `reject_errored: { SINK: {} }`,
	},
	{name: "branch that filters", pipeline: `
- branch:
    request_map: 'root = if this.odd { deleted() }'
    processors: [ { mapping: 'root = content().string()' } ]
    result_map: root.size = content().length()`},
	{name: "parallel with deleted", pipeline: `
- parallel: { cap: 4, processors: [ { mapping: 'root = if this.odd { deleted() }' } ] }`, drops: odd},
	{name: "for_each with split and deleted", pipeline: `
- for_each: [ { mapping: 'root = if this.odd { deleted() }' }, { split: { size: 1 } } ]`, drops: odd},
	{name: "while", pipeline: `
- while:
    at_least_once: true
    max_loops: 3
    check: 'this.loops.or(0) < 2'
    processors: [ { mapping: 'root = this.merge({"loops": this.loops.or(0) + 1})' }, { split: { size: 30 } } ]`},
	{
		name: "switch processor", pipeline: `
- switch:
    - check: this.odd
      processors: [ { split: { size: 5 } }, { mapping: 'root = this' } ]
    - check: this.group == "g3"
      processors: [ { mapping: 'root = deleted()' } ]
    - processors: [ { group_by_value: { value: '${! this.group }' } } ]`,
		drops: func(i item) bool { return !i.odd && i.group == "g3" },
	},
	{name: "try, catch", pipeline: `
- try: [ { mapping: 'root = if random_int() % 5 == 0 { throw("flaky") }' }, { split: { size: 8 } } ]
- catch: [ { mapping: 'root = this.merge({"caught": true})' } ]`},
	{
		name: "try_catch with reject_errored", pipeline: `
- try_catch:
    processors: [ { mapping: 'root = if random_int() % 5 == 0 { throw("flaky") }' } ]
    catch: [ { mapping: 'root = if random_int() % 2 == 0 { throw("flaky again") }' } ]`,
		output: `reject_errored: { SINK: {} }`,
	},
	{
		name: "retry processor", pipeline: `
- retry:
    backoff: { initial_interval: 1ms, max_interval: 2ms, max_elapsed_time: 0s }
    parallel: true
    max_retries: 2
    processors: [ { mapping: 'root = if random_int() % 5 == 0 { throw("flaky") }' } ]
- split: { size: 6 }`,
		output: `reject_errored: { SINK: {} }`,
	},
	{name: "cached", pipeline: `
- branch:
    processors: [ { cached: { cache: memo, key: '${! this.group }', processors: [ { mapping: 'root = {"label": this.group}' } ] } } ]
    result_map: root.label = this.label
- split: { size: 13 }`},
	{name: "processors", pipeline: `
- processors: [ { split: { size: 9 } }, { mapping: 'root = if this.odd { deleted() }' }, { split: { size: 2 } } ]`, drops: odd},
	{
		name: "several threads", threads: 4, pipeline: `
- split: { size: 9 }` + dropOdd + throwForSome,
		output: `reject_errored: { SINK: {} }`, drops: odd,
	},

	// Inputs around ours.
	{name: "input processors that split", input: `
INPUT
processors:
  - FRONT
  - split: { size: 7 }`},
	{
		name: "input processors that filter and group", input: `
INPUT
processors:
  - FRONT
  - mapping: 'root = if this.odd { deleted() }'
  - group_by_value: { value: '${! this.group }' }`,
		pipeline: throwForSome, output: `reject_errored: { SINK: {} }`, drops: odd,
	},
	{
		name: "sequence", input: `
sequence:
  inputs: [ { INPUT }, { generate: { count: 1, interval: "", mapping: 'root = {"id":"", "group":"", "odd":false}' } } ]`,
		pipeline: `
- split: { size: 7 }`,
	},
	{
		name: "broker input", input: `
broker:
  inputs: [ { INPUT }, { generate: { count: 20, interval: "", mapping: 'root = {"id":"", "group":"", "odd":false}' } } ]`,
		pipeline: dropOdd, drops: odd,
	},
	{name: "broker input with batching", input: `
broker:
  inputs: [ { INPUT } ]
  batching: { count: 250, period: 5ms }`},
	{
		name: "read_until", input: `
read_until:
  check: 'false'
  input: { INPUT }`,
		pipeline: `
- group_by_value: { value: '${! this.group }' }`,
	},

	// Outputs.
	{name: "output processors that split", output: `
SINK: {}
processors:
  - split: { size: 7 }`},
	{name: "output processors that filter and group", output: `
SINK: {}
processors:
  - mapping: 'root = if this.odd { deleted() }'
  - group_by_value: { value: '${! this.group }' }`, drops: odd},
	{name: "output batching", output: `
SINK: { batching: { count: 150, period: 5ms } }`},
	{name: "output batching after a split", pipeline: `
- split: { size: 7 }`, output: `
SINK: { batching: { count: 50, period: 5ms } }`},
	{name: "output batching after a filter and groups", pipeline: dropOdd + `
- group_by_value: { value: '${! this.group }' }`, output: `
SINK: { batching: { count: 60, period: 5ms } }`, drops: odd},
	{name: "output batching that archives", output: `
SINK: { batching: { count: 150, period: 5ms, processors: [ { archive: { format: json_array } } ] } }`},
	{name: "output batching that splits", output: `
SINK: { batching: { count: 150, period: 5ms, processors: [ { split: { size: 20 } } ] } }`},
	{name: "output batching that splits and archives", output: `
SINK: { batching: { count: 150, period: 5ms, processors: [ { split: { size: 20 } }, { archive: { format: lines } } ] } }`},
	{name: "broker fan_out", slow: true, pipeline: `
- split: { size: 30 }`, output: `
broker:
  pattern: fan_out
  outputs: [ { SINK: {} }, drop: {} ]`},
	{name: "broker fan_out_sequential", slow: true, output: `
broker:
  pattern: fan_out_sequential
  outputs: [ { drop: {}, processors: [ { mapping: 'root = deleted()' } ] }, { SINK: {} } ]`},
	{name: "broker fan_out_fail_fast", output: `
broker:
  pattern: fan_out_fail_fast
  outputs: [ { SINK: {} }, drop: {} ]`},
	{name: "broker fan_out_sequential_fail_fast", pipeline: `
- split: { size: 7 }`, output: `
broker:
  pattern: fan_out_sequential_fail_fast
  outputs: [ { SINK: {} }, drop: {} ]`},
	{name: "broker round_robin", output: `
broker:
  pattern: round_robin
  outputs: [ { SINK: {} }, { SINK: {} } ]`},
	{name: "broker greedy", pipeline: `
- split: { size: 7 }`, output: `
broker:
  pattern: greedy
  outputs: [ { SINK: {} }, { SINK: {} } ]`},
	{name: "broker greedy of copies that filter", output: `
broker:
  pattern: greedy
  copies: 2
  outputs: [ { SINK: {} } ]
processors:
  - mapping: 'root = if this.odd { deleted() }'`, drops: odd},
	{name: "broker with batching", output: `
broker:
  pattern: round_robin
  outputs: [ { SINK: {} }, { SINK: {} } ]
  batching: { count: 150, period: 5ms }`},
	{name: "fallback", output: `
fallback: [ { SINK: {} }, { SINK: {} } ]`},
	{name: "fallback after a split", pipeline: `
- split: { size: 7 }` + dropOdd, output: `
fallback: [ { SINK: {} }, { SINK: {} }, { SINK: {} } ]`, drops: odd},
	{name: "fallback of reject_errored", pipeline: `
- split: { size: 7 }` + throwForSome, output: `
fallback: [ reject_errored: { SINK: {} }, { SINK: {} } ]`},
	{name: "fallback whose last output filters and splits", pipeline: throwForSome, output: `
fallback:
  - reject_errored: { SINK: {} }
  - SINK: {}
    processors: [ { split: { size: 4 } } ]`},
	{name: "fallback of batching", output: `
fallback:
  - SINK: { batching: { count: 150, period: 5ms } }
  - SINK: {}`},
	{name: "fallback behind single messages whose first output splits", pipeline: `
- split: { size: 1 }`, output: `
fallback:
  - SINK: {}
    processors: [ { mapping: 'root = [this, this]' }, { unarchive: { format: json_array } }, { split: { size: 1 } } ]
  - SINK: {}`},
	{name: "switch output", pipeline: `
- split: { size: 15 }`, output: `
switch:
  cases:
    - { check: this.odd, output: { SINK: {} } }
    - { check: 'this.group == "g1"', output: { SINK: {} } }
    - { output: { SINK: {} } }`},
	{name: "switch output with continue", output: `
switch:
  retry_until_success: false
  cases:
    - { check: this.odd, continue: true, output: { SINK: {} } }
    - { output: { SINK: {} } }`},
	{
		name: "switch output whose cases split and filter", output: `
switch:
  retry_until_success: false
  cases:
    - check: this.odd
      output:
        SINK: {}
        processors: [ { split: { size: 7 } } ]
    - output:
        SINK: {}
        processors: [ { mapping: 'root = if this.group == "g4" { deleted() }' }, { group_by_value: { value: '${! this.group }' } } ]`,
		drops: func(i item) bool { return !i.odd && i.group == "g4" },
	},
	{name: "switch output of batching", output: `
switch:
  retry_until_success: false
  cases:
    - check: this.odd
      output:
        SINK: { batching: { count: 70, period: 5ms } }
    - output: { SINK: {} }`},
	{name: "switch output of reject_errored", pipeline: throwForSome + dropOdd, output: `
switch:
  cases:
    - { check: 'this.group == "g1"', output: { reject_errored: { SINK: {} } } }
    - { output: { reject_errored: { SINK: {} } } }`, drops: odd},
	{name: "switch output that retries until success", slow: true, output: `
switch:
  retry_until_success: true
  cases:
    - { check: this.odd, output: { SINK: {} } }
    - { output: { SINK: {} } }`},
	{name: "retry output", slow: true, pipeline: `
- split: { size: 7 }`, output: `
retry:
  backoff: { initial_interval: 5ms, max_interval: 10ms }
  output: { SINK: {} }`},
	{name: "retry output that gives up", slow: true, output: `
retry:
  max_retries: 1
  backoff: { initial_interval: 2ms, max_interval: 2ms }
  output:
    SINK: {}
    processors: [ { split: { size: 7 } } ]`},
	{name: "drop_on that does not match", output: `
drop_on:
  error: false
  error_patterns: [ "never said" ]
  output: { SINK: {} }`},
	{name: "reject_errored in reject_errored", pipeline: `
- split: { size: 7 }` + throwForSome, output: `
reject_errored: { reject_errored: { SINK: {} } }`},
	{name: "resource output", output: `
resource: sink`},
}

// merged lists shapes in which Benthos merges several batches of the input and then
// changes their form. Where a part of it fails, some of the batches are acknowledged that
// were not delivered, but never all: a batch that is acknowledged together with a failure
// of another one may be one of them (see internal/transaction/tracked.go and the end of
// internal/component/processor/auto_observed.go in Benthos v4.80.0).
var merged = []shape{
	{name: "batching.processors that filter", output: `
SINK: { batching: ` + dropOddBatching + ` }`, drops: odd},
	{name: "batching.processors that group", output: `
SINK: { batching: { count: 150, period: 5ms, processors: [ { group_by_value: { value: '${! this.group }' } } ] } }`},
	{name: "batching.processors that group and archive", output: `
SINK: { batching: { count: 150, period: 5ms, processors: [ { group_by_value: { value: '${! this.group }' } }, { archive: { format: lines } } ] } }`},
	{name: "broker batching before outputs that filter", output: `
broker:
  pattern: round_robin
  batching: { count: 150, period: 5ms }
  outputs:
    - SINK: {}
      processors: [ { mapping: 'root = if this.odd { deleted() }' } ]
    - SINK: {}
      processors: [ { mapping: 'root = if this.odd { deleted() }' } ]`, drops: odd},
	{name: "broker batching before outputs that split", output: `
broker:
  pattern: round_robin
  batching: { count: 150, period: 5ms }
  outputs:
    - SINK: {}
      processors: [ { split: { size: 7 } } ]
    - SINK: {}
      processors: [ { split: { size: 7 } } ]`},
	{
		name: "broker input with batching, split", input: `
broker:
  inputs: [ { INPUT } ]
  batching: { count: 250, period: 5ms }`,
		pipeline: `
- split: { size: 7 }`,
	},
	{
		name: "broker input with batching, filter", input: `
broker:
  inputs: [ { INPUT } ]
  batching: { count: 250, period: 5ms }`,
		pipeline: dropOdd, drops: odd,
	},
	{
		name: "broker input with batching, throw, reject_errored", input: `
broker:
  inputs: [ { INPUT } ]
  batching: { count: 250, period: 5ms }`,
		pipeline: `
- split: { size: 7 }` + throwForSome, output: `reject_errored: { SINK: {} }`,
	},
}

// owned lists the shapes in which messages get lost that Benthos acknowledged without any
// failure of another batch, so that no input can know. Nothing is asserted but that they
// run to their end.
var owned = []shape{
	// A batch counts as delivered once each of its messages was met without an error
	// (getResFromGroup in internal/transaction/tracked.go): of several that become of one,
	// the first decides.
	{name: "batching.processors that multiply", times: 3, output: `
SINK: { batching: { count: 150, period: 5ms, processors: [ { mapping: 'root = [ this.merge({"copy": 1}), this.merge({"copy": 2}), this.merge({"copy": 3}) ]' }, { unarchive: { format: json_array } } ] } }`},
	// A fallback sends on what the indexes of the first output's error name
	// (nextBatchFromErr in internal/impl/pure/output_fallback.go), which are wrong behind
	// processors that change the form of a batch. In front of the fallback they do no harm,
	// nor behind a split into single messages.
	{name: "fallback whose first output splits", output: `
fallback:
  - SINK: {}
    processors: [ { split: { size: 7 } } ]
  - SINK: {}`},
	{name: "fallback whose first output filters", output: `
fallback:
  - SINK: {}
    processors: [ { mapping: 'root = if this.odd { deleted() }' } ]
  - SINK: {}
    processors: [ { mapping: 'root = if this.odd { deleted() }' } ]`, drops: odd},
	{name: "fallback whose first output groups", output: `
fallback:
  - SINK: {}
    processors: [ { group_by_value: { value: '${! this.group }' } } ]
  - SINK: {}`},
	// All writes of a drop_on answer on one channel: the late answer to one that was given
	// up is taken for the answer to the next (internal/impl/pure/output_drop_on.go).
	{name: "drop_on back pressure", output: `
drop_on:
  error: false
  back_pressure: 3ms
  output: { SINK: {} }`},
	{name: "drop_on back pressure of a batch in parts", pipeline: `
- split: { size: 7 }`, output: `
drop_on:
  error: false
  back_pressure: 1ms
  output: { SINK: {} }`},
}

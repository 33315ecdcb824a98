package processor

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

const nul = "\x00"

// withoutNUL returns a value without the NUL characters of its texts and keys, and
// whether there were any. The value itself is not changed. A key that becomes another
// one's name gets a number, so that nothing is lost.
func withoutNUL(value any) (stripped any, found bool) {
	switch v := value.(type) {
	case string:
		if !strings.Contains(v, nul) {
			return value, false
		}
		return strings.ReplaceAll(v, nul, ""), true
	case []any:
		for i, item := range v {
			if item, changed := withoutNUL(item); changed {
				if !found {
					v, found = slices.Clone(v), true
				}
				v[i] = item
			}
		}
		return v, found
	case map[string]any:
		return withoutNULInObject(v)
	}
	return value, false
}

func withoutNULInObject(object map[string]any) (map[string]any, bool) {
	stripped, found := object, false
	var renamed []string
	for key, item := range object {
		item, changed := withoutNUL(item)
		isRenamed := strings.Contains(key, nul)
		if !changed && !isRenamed {
			continue
		}
		if !found {
			stripped, found = maps.Clone(object), true
		}
		stripped[key] = item
		if isRenamed {
			renamed = append(renamed, key)
		}
	}
	slices.Sort(renamed)
	for _, key := range renamed {
		base := strings.ReplaceAll(key, nul, "")
		name := base
		for n := 2; ; n++ {
			if _, taken := stripped[name]; !taken {
				break
			}
			name = base + "_" + strconv.Itoa(n)
		}
		stripped[name] = stripped[key]
		delete(stripped, key)
	}
	return stripped, found
}

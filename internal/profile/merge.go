package profile

import "reflect"

// Merge puts one profile over another, as Talos' imager does: what is set above
// takes the place of what is below, but lists are appended. Neither is changed.
//
// If the two differ in their kind of output, then format, size and options
// below are those of something else and are dropped: a cmdline made from the
// profile metal is not compressed.
func (p Profile) Merge(over Profile) Profile {
	if k := over.Output.Kind; k != "" && p.Output.Kind != "" && k != p.Output.Kind {
		p.Output = Output{}
	}
	var merged Profile
	merge(&merged, p)
	merge(&merged, over)
	return merged
}

func merge(dst *Profile, src Profile) {
	mergeValue(reflect.ValueOf(dst).Elem(), reflect.ValueOf(src))
}

func mergeValue(dst, src reflect.Value) {
	if src.IsZero() {
		return
	}
	switch src.Kind() {
	case reflect.Struct:
		for i := range src.NumField() {
			mergeValue(dst.Field(i), src.Field(i))
		}
	case reflect.Pointer:
		whole := reflect.New(src.Type().Elem())
		if !dst.IsNil() {
			mergeValue(whole.Elem(), dst.Elem())
		}
		if src.Elem().Kind() == reflect.Bool { // false counts, too
			whole.Elem().Set(src.Elem())
		} else {
			mergeValue(whole.Elem(), src.Elem())
		}
		dst.Set(whole)
	case reflect.Slice:
		dst.Set(reflect.AppendSlice(dst.Slice3(0, dst.Len(), dst.Len()), src))
	case reflect.Map:
		all := reflect.MakeMap(src.Type())
		for _, m := range []reflect.Value{dst, src} {
			for _, key := range m.MapKeys() {
				all.SetMapIndex(key, m.MapIndex(key))
			}
		}
		dst.Set(all)
	default:
		dst.Set(src)
	}
}

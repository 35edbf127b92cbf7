package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	luajson "layeh.com/gopher-json"
)

// The health of Argo CD; a script that returns another word is shown as Unknown there, which nobody would want.
var healths = []string{"Healthy", "Progressing", "Degraded", "Suspended", "Missing", "Unknown"}

type health struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

// Argo CD gives a script that comes from argocd-cm these libraries and no others, unless an administrator opens
// more: no string, no math.
func newState() (*lua.LState, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	for _, library := range []struct {
		name string
		open lua.LGFunction
	}{
		{lua.LoadLibName, lua.OpenPackage},
		{lua.BaseLibName, lua.OpenBase},
		{lua.TabLibName, lua.OpenTable},
		{lua.OsLibName, lua.OpenOs},
	} {
		call := lua.P{Fn: state.NewFunction(library.open), NRet: 0, Protect: true}
		if err := state.CallByParam(call, lua.LString(library.name)); err != nil {
			return nil, err
		}
	}
	operating := state.GetGlobal(lua.OsLibName).(*lua.LTable)
	var unsafe []lua.LValue
	operating.ForEach(func(name, _ lua.LValue) {
		if name.String() != "time" && name.String() != "date" {
			unsafe = append(unsafe, name)
		}
	})
	for _, name := range unsafe {
		operating.RawSet(name, lua.LNil)
	}
	return state, nil
}

// evaluate gives the JSON of the table that the script returns for the object.
func evaluate(script string, object map[string]any) (json.RawMessage, error) {
	state, err := newState()
	if err != nil {
		return nil, err
	}
	defer state.Close()
	limit, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	state.SetContext(limit)
	// By way of JSON: the library knows its own numbers only.
	raw, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	value, err := luajson.Decode(state, raw)
	if err != nil {
		return nil, err
	}
	state.SetGlobal("obj", value)
	if err := state.DoString(script); err != nil {
		return nil, err
	}
	returned := state.Get(-1)
	if returned.Type() != lua.LTTable {
		return nil, fmt.Errorf("the script returns a %s, not a table", returned.Type())
	}
	return luajson.Encode(returned)
}

func luaHealth(script string) judge {
	return func(object *unstructured.Unstructured) (any, error) {
		raw, err := evaluate(script, object.Object)
		if err != nil {
			return nil, err
		}
		var told health
		if err := json.Unmarshal(raw, &told); err != nil {
			return nil, err
		}
		if !slices.Contains(healths, told.Status) {
			return nil, fmt.Errorf("status %q is none of %v", told.Status, healths)
		}
		return told, nil
	}
}

func luaTable(script string) judge {
	return func(object *unstructured.Unstructured) (any, error) {
		return evaluate(script, object.Object)
	}
}

func luaAction(script string) judge {
	return func(object *unstructured.Unstructured) (any, error) {
		raw, err := evaluate(script, object.Object)
		if err != nil {
			return nil, err
		}
		var changed any
		if err := json.Unmarshal(raw, &changed); err != nil {
			return nil, err
		}
		return restored(changed, object.Object), nil
	}
}

// restored gives back their form to maps that were empty before: Lua cannot tell them from empty arrays. Argo CD
// does the same before it patches.
func restored(value, before any) any {
	switch value := value.(type) {
	case map[string]any:
		old, _ := before.(map[string]any)
		for key := range value {
			value[key] = restored(value[key], old[key])
		}
	case []any:
		if _, wasMap := before.(map[string]any); wasMap && len(value) == 0 {
			return map[string]any{}
		}
		old, _ := before.([]any)
		for i := range min(len(value), len(old)) {
			value[i] = restored(value[i], old[i])
		}
	}
	return value
}

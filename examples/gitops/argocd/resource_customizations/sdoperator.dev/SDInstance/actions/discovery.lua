local suspended = obj.spec ~= nil and obj.spec.suspend == true

local actions = {}
actions["suspend"] = { ["disabled"] = suspended, ["iconClass"] = "fa fa-fw fa-pause-circle" }
actions["resume"] = { ["disabled"] = not suspended, ["iconClass"] = "fa fa-fw fa-play-circle" }
return actions

-- What the operator says of the object is three conditions: Ready, and the abnormal Reconciling and Stalled.
local health = { status = "Progressing", message = "Waiting for the operator to look at this generation" }

if obj.status == nil or obj.status.conditions == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return health
end

-- The operator gives both; where one is missing, the health is known all the same.
local function told(condition)
  return (condition.reason or "") .. ": " .. (condition.message or "")
end

local found = {}
for _, condition in ipairs(obj.status.conditions) do
  found[condition.type] = condition
end
local ready, reconciling, stalled = found.Ready, found.Reconciling, found.Stalled
if ready == nil then
  return health
end

if stalled ~= nil and stalled.status == "True" then
  health.status, health.message = "Degraded", told(stalled)
elseif reconciling ~= nil and reconciling.status == "True" then
  health.status, health.message = "Progressing", told(reconciling)
elseif ready.status == "True" then
  health.status, health.message = "Healthy", ready.message or ""
else
  health.message = told(ready)
end
return health

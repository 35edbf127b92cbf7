-- Argo CD gives Applications no health by default; sync waves among them wait only with it.
local told = obj.status ~= nil and obj.status.health or nil
if told == nil or told.status == nil then
  return { status = "Progressing", message = "Waiting for the first comparison" }
end
return { status = told.status, message = told.message or "" }

local verified = false
if obj.status ~= nil and obj.status.files ~= nil then
  for _, file in ipairs(obj.status.files) do
    verified = verified or file.state == "Verified"
  end
end

local actions = {}
actions["verify"] = { ["disabled"] = not verified, ["iconClass"] = "fa fa-fw fa-check-square" }
return actions

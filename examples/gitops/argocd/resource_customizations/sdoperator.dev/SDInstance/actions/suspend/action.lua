-- Pods go on serving as they are; edits of the spec wait.
obj.spec.suspend = true
return obj

-- Sends the requests of a file (parted by NUL) over and over, and counts the answers by status.
local requests, at = {}, 0

function setup(thread)
  worker = thread
end

function init(arguments)
  statuses = {}
  for request in io.open(arguments[1], "rb"):read("*a"):gmatch("[^%z]+") do
    requests[#requests + 1] = request
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function response(status, headers)
  local kind = tostring(status)
  if status == 503 and not (headers["retry-after"] or headers["Retry-After"]) then
    kind = "503 without Retry-After"
  end
  statuses[kind] = (statuses[kind] or 0) + 1
end

function done(summary)
  local errors = summary.errors
  print(string.format("seconds %f", summary.duration / 1e6))
  print(string.format("broken %d", errors.connect + errors.read + errors.write + errors.timeout))
  for kind, count in pairs(worker:get("statuses")) do
    print(string.format("status %d %s", count, kind))
  end
end

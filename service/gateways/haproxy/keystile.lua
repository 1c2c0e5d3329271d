-- Asks Keystile about each request: allowed, its answer goes into variables; refused, the client gets its answer.
local VERIFY = "http://127.0.0.1:8400/sts/verify"
local PATIENCE = 1000 -- milliseconds; HAProxy 2.6 asks up to four times
local ASKED_WITH = { "authorization", "x-api-key", "origin", "user-agent", "x-request-id", "traceparent" }
local TOLD = {
    "authorization", "x-auth-subject", "x-auth-username", "x-auth-key-id", "x-auth-scope", "x-auth-tenant",
    "x-auth-actor",
}

-- All values of a header, as a list: two keys must reach Keystile as two.
local function values(headers, name)
    local found = {}
    local index = 0
    while headers[name] and headers[name][index] do
        found[index + 1] = headers[name][index]
        index = index + 1
    end
    return found
end

-- KEYSTILE_TRUSTED_PROXIES names this host, and KEYSTILE_FORWARDED_HEADERS is x-forwarded.
local function question(txn)
    local headers = txn.http:req_get_headers()
    local asked = {
        ["x-forwarded-method"] = { txn.sf:method() },
        ["x-forwarded-uri"] = { txn.sf:url() },
        ["x-forwarded-for"] = { txn.sf:src() },
        ["x-forwarded-proto"] = { txn.sf:ssl_fc() == 1 and "https" or "http" },
    }
    for _, name in ipairs(ASKED_WITH) do
        local found = values(headers, name)
        if #found > 0 then
            asked[name] = found
        end
    end
    return asked
end

local function refuse(txn, answer)
    local reply = txn:reply({ status = answer.status, body = answer.body })
    for name, all in pairs(answer.headers) do
        if name ~= "content-length" and name ~= "transfer-encoding" and name ~= "connection" then
            for _, value in pairs(all) do
                reply:add_header(name, value)
            end
        end
    end
    txn:done(reply)
end

core.register_action("keystile", { "http-req" }, function(txn)
    local answer = core.httpclient():get({ url = VERIFY, headers = question(txn), timeout = PATIENCE })
    if not answer or not answer.status or answer.status == 0 or answer.status >= 500 and answer.status ~= 503 then
        return -- the configuration refuses what is not allowed
    end
    if answer.status ~= 200 then
        refuse(txn, answer)
        return
    end
    for _, name in ipairs(TOLD) do
        txn:set_var("txn." .. name:gsub("-", "_"), answer.headers[name][0])
    end
    txn:set_var("txn.keystile_allowed", true)
end)

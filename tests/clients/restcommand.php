<?php
/**
 * Calls the gateway the way PHP tools have called Bitrix24 for years.
 *
 *     php restcommand.php BASE_URL METHOD [JSON_PARAMS] [METHOD [JSON_PARAMS] ...]
 *
 * First every METHOD through restCommand(), whose shape is that of the vendor's example: a form
 * POST with `auth` inside, and a refresh when the answer says expired_token. Behind the gateway
 * that refresh must never happen. Then what people write by hand: file_get_contents() with an
 * unescaped filter in the URL, and a multipart upload. One JSON line per step; the exit status is
 * 1 when a step failed.
 */

const CLIENT_ID = 'local.client';
const CLIENT_SECRET = 'secret';

// Standard output is for the JSON lines alone.
ini_set('display_errors', 'stderr');

/** How often a tool behind the gateway tried to refresh a token by itself. */
$refreshes = 0;
$failed = false;

function restCommand($method, array $params = array(), array $auth = array(), $authRefresh = true)
{
    $queryUrl = $auth['client_endpoint'] . $method;
    $queryData = http_build_query(array_merge($params, array('auth' => $auth['access_token'])));

    $curl = curl_init();
    curl_setopt_array($curl, array(
        CURLOPT_POST => 1,
        CURLOPT_HEADER => 0,
        CURLOPT_RETURNTRANSFER => 1,
        CURLOPT_SSL_VERIFYPEER => 1,
        CURLOPT_URL => $queryUrl,
        CURLOPT_POSTFIELDS => $queryData,
    ));
    $result = json_decode(curl_exec($curl), 1);
    curl_close($curl);

    if ($authRefresh && isset($result['error']) && $result['error'] == 'expired_token') {
        $auth = restAuth($auth);
        if ($auth) {
            $result = restCommand($method, $params, $auth, false);
        }
    }
    return $result;
}

function restAuth(array $auth)
{
    global $refreshes;
    $refreshes++;
    $queryUrl = $auth['server_endpoint'] . 'oauth/token/?' . http_build_query(array(
        'grant_type' => 'refresh_token',
        'client_id' => CLIENT_ID,
        'client_secret' => CLIENT_SECRET,
        'refresh_token' => $auth['refresh_token'],
    ));

    $curl = curl_init();
    curl_setopt_array($curl, array(
        CURLOPT_HEADER => 0,
        CURLOPT_RETURNTRANSFER => 1,
        CURLOPT_URL => $queryUrl,
    ));
    $result = json_decode(curl_exec($curl), 1);
    curl_close($curl);
    return isset($result['access_token']) ? array_merge($auth, $result) : false;
}

/** The filter of a list, as people type it into a URL: nothing is escaped. */
function rawFilter($base)
{
    $body = file_get_contents($base . '/rest/crm.deal.list?filter[>ID]=0&filter[<ID]=999999&start=0');
    return $body === false ? error_get_last()['message'] : json_decode($body, 1);
}

/**
 * Where to upload to is asked first, and what is answered is an address of the portal itself; its
 * path is called through the gateway. An array in CURLOPT_POSTFIELDS is what makes curl send
 * multipart/form-data.
 */
function multipartUpload($base, array $auth)
{
    $place = restCommand('disk.folder.uploadfile', array('id' => 1), $auth);
    if (!isset($place['result']['uploadUrl'])) {
        return $place;
    }
    $target = preg_replace('~^https?://[^/]+~', '', $place['result']['uploadUrl']);
    $path = tempnam(sys_get_temp_dir(), 'upload');
    // Every byte there is, so that nothing on the way can treat it as text and go unnoticed.
    file_put_contents($path, str_repeat(implode('', array_map('chr', range(0, 255))), 8192));

    $curl = curl_init($base . $target);
    curl_setopt_array($curl, array(
        CURLOPT_RETURNTRANSFER => 1,
        CURLOPT_POSTFIELDS => array(
            'NAME' => 'bytes.bin',
            $place['result']['field'] => new CURLFile($path, 'application/octet-stream', 'bytes.bin'),
        ),
    ));
    $result = curl_exec($curl);
    $error = curl_error($curl);
    curl_close($curl);
    unlink($path);
    return $result === false ? $error : json_decode($result, 1);
}

function step($name, $result)
{
    global $failed;
    $ok = is_array($result) && !isset($result['error']) && array_key_exists('result', $result);
    $failed = $failed || !$ok;
    $line = array('step' => $name, 'ok' => $ok, 'result' => $result);
    echo json_encode($line, JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE), "\n";
}

if ($argc < 3) {
    fwrite(STDERR, "usage: php restcommand.php BASE_URL METHOD [JSON_PARAMS] ...\n");
    exit(2);
}
$base = rtrim($argv[1], '/');
$auth = array(
    'client_endpoint' => $base . '/rest/',
    'server_endpoint' => $base . '/',
    'access_token' => 'a-token-that-died-long-ago',
    'refresh_token' => 'a-refresh-token-that-died-long-ago',
);

for ($i = 2; $i < $argc; $i++) {
    $method = $argv[$i];
    $params = array();
    if (isset($argv[$i + 1]) && $argv[$i + 1][0] === '{') {
        $params = json_decode($argv[++$i], 1, 512, JSON_THROW_ON_ERROR);
    }
    step("restCommand $method", restCommand($method, $params, $auth));
}
step('file_get_contents', rawFilter($base));
step('multipart', multipartUpload($base, $auth));
step('refreshes', $refreshes === 0 ? array('result' => 0) : array('error' => $refreshes));
exit($failed ? 1 : 0);

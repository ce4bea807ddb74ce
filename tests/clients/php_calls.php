<?php
/**
 * Calls the gateway the way PHP tools do: only the address and the key are the gateway's.
 *
 *     php php_calls.php CLIENT ADDRESS KEY STEP...
 *
 * CLIENT is one of those at the end of this file; the requests have the shape of the tools they are
 * named after. STEP is call, list, batch, add, batch_add, multipart or renewals. One JSON line per
 * step, with what a tool would show its user.
 */

// Standard output is for the JSON lines alone.
ini_set('display_errors', 'stderr');

/** How often a tool behind the gateway tried to renew a token by itself. */
$renewals = 0;

/**
 * CRest: a form, or a GET where there is nothing to send; `.json`; redirects are followed; a call
 * that meets expired_token asks the OAuth server for a new pair.
 */
function crest($endpoint, $token)
{
    return function ($method, array $params = array()) use ($endpoint, $token) {
        global $renewals;
        if ($token !== null) {
            $params['auth'] = $token;
        }
        $options = array(CURLOPT_FOLLOWLOCATION => 1, CURLOPT_USERAGENT => 'Bitrix24 CRest PHP 1.36');
        if ($params) {
            $options += array(CURLOPT_POST => true, CURLOPT_POSTFIELDS => http_build_query($params));
        }
        $result = fetch($endpoint . $method . '.json', $options);
        $renewals += (int) (($result['error'] ?? '') === 'expired_token');
        return $result;
    };
}

/** The vendor's example: a form POST with `auth` inside, and no suffix. */
function restCommand($endpoint, $token)
{
    return function ($method, array $params = array()) use ($endpoint, $token) {
        global $renewals;
        $form = http_build_query(array_merge($params, array('auth' => $token)));
        $result = fetch($endpoint . $method, array(CURLOPT_POST => 1, CURLOPT_POSTFIELDS => $form));
        $renewals += (int) (($result['error'] ?? '') === 'expired_token');
        return $result;
    };
}

function fetch($url, array $options)
{
    $curl = curl_init($url);
    curl_setopt_array($curl, $options + array(CURLOPT_RETURNTRANSFER => true));
    $body = curl_exec($curl);
    $status = curl_getinfo($curl, CURLINFO_HTTP_CODE);
    $redirects = curl_getinfo($curl, CURLINFO_REDIRECT_COUNT);
    $error = curl_error($curl);
    curl_close($curl);
    if ($redirects > 0) {
        return array('error' => 'redirect', 'error_description' => 'the gateway sent it elsewhere');
    }
    $result = $body === false ? null : json_decode($body, true);
    if (!is_array($result)) {
        return array('error' => 'no_json', 'error_description' => "$status $error");
    }
    return $result;
}

/** An array in CURLOPT_POSTFIELDS is what makes curl send multipart/form-data. */
function multipart($address, $key)
{
    $path = tempnam(sys_get_temp_dir(), 'upload');
    // Every byte there is, so that nothing on the way can treat it as text and go unnoticed.
    $bytes = str_repeat(implode('', array_map('chr', range(0, 255))), 64);
    file_put_contents($path, $bytes);
    $answer = fetch("$address/rest/1/$key/sandbox.echo", array(CURLOPT_POSTFIELDS => array(
        'id' => 7,
        'fields[NAME]' => 'a & b',
        'file' => new CURLFile($path, 'application/octet-stream', 'bytes.bin'),
    )));
    unlink($path);
    $params = $answer['result']['params'] ?? array();
    $whole = ($params['file']['sha256'] ?? '') === hash('sha256', $bytes);
    return $whole ? array('result' => $params['fields']['NAME']) : $answer;
}

/** The ways in which the steps are taken, by name. */
function steps($call, $address, $key)
{
    return array(
        'call' => fn () => found($call('user.current'), fn ($it) => $it['NAME']),
        'list' => function () use ($call) {
            $seen = array();
            $start = 0;
            do {
                $page = $call('crm.deal.list', array('filter' => array('>ID' => 0), 'start' => $start));
                if (isset($page['error'])) {
                    return $page;
                }
                foreach ($page['result'] as $deal) {
                    $seen[$deal['ID']] = true;
                }
                $start = $page['next'] ?? null;
            } while ($start !== null);
            return array('result' => count($seen));
        },
        'batch' => function () use ($call) {
            $cmd = array('me' => 'user.current', 'deals' => 'crm.deal.list?' . http_build_query(array('start' => 0)));
            $pick = fn ($it) => array($it['result']['me']['NAME'], count($it['result']['deals']));
            return found($call('batch', array('halt' => 0, 'cmd' => $cmd)), $pick);
        },
        'add' => fn () => $call('crm.deal.add', array('fields' => array('TITLE' => 'new'))),
        'batch_add' => function () use ($call) {
            $add = http_build_query(array('fields' => array('TITLE' => 'new')));
            $cmd = array('me' => 'user.current', 'deal' => "crm.deal.add?$add");
            $pick = fn ($it) => $it['result']['deal'];
            return found($call('batch', array('halt' => 0, 'cmd' => $cmd)), $pick);
        },
        'multipart' => fn () => multipart($address, $key),
        'renewals' => fn () => array('result' => $GLOBALS['renewals']),
    );
}

function found(array $answer, callable $pick)
{
    return isset($answer['result']) ? array('result' => $pick($answer['result'])) : $answer;
}

[, $client, $address, $key] = $argv;
$clients = array(
    'CRest webhook' => fn () => crest("$address/rest/1/$key/", null),
    'CRest OAuth' => fn () => crest("$address/rest/", $key),
    'restCommand' => fn () => restCommand("$address/rest/", $key),
);
$steps = steps($clients[$client](), $address, $key);
foreach (array_slice($argv, 4) as $name) {
    $answer = $steps[$name]();
    $ok = array_key_exists('result', $answer);
    $result = $ok ? $answer['result'] : $answer['error'] . ': ' . ($answer['error_description'] ?? '');
    $line = array('step' => $name, 'ok' => $ok, 'result' => $result);
    echo json_encode($line, JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE), "\n";
}

<?php
// Replay a topic from message 30 on: the example of the first OPQ, as it was.
$ch = curl_init("http://localhost:8999/opq/replay");
curl_setopt($ch, CURLOPT_RETURNTRANSFER, 1);
curl_setopt($ch, CURLOPT_POST, 1);
curl_setopt($ch, CURLOPT_POSTFIELDS, array('topic' => 'comment', 'cmd' => '30'));
var_dump(curl_exec($ch));

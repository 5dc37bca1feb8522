using System;
using System.Collections.Generic;

static class Letters
{
    static void Main(string[] told)
    {
        var headers = new List<KeyValuePair<string, string>>();
        for (var at = 3; at < told.Length; at += 2) headers.Add(new KeyValuePair<string, string>(told[at], told[at + 1]));
        try
        {
            new Countersign(Countersign.Secret(told[0])).Verify(told[1], told[2], headers);
            Console.WriteLine("believed");
        }
        catch (Countersign.Refused)
        {
            Console.WriteLine("refused");
        }
    }
}

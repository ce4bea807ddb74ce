/**
 * Calls the gateway with a JavaScript library, as it is: only the address and the key are the
 * gateway's.
 *
 *     node calls.mjs CLIENT ADDRESS KEY STEP...
 *
 * The libraries are looked for where the program is called: a link to it stands beside their
 * `node_modules`. ADDRESS is where the gateway listens, such as https://localhost:8024; STEP is call,
 * list or batch, of b24jssdk also add and batch_add. One JSON line per step, with what the library
 * answered or what it said when it failed.
 */

import { B24Hook, B24OAuth } from '@bitrix24/b24jssdk'
import bitrix from '@2bad/bitrix'

const CLIENTS = {
  'b24jssdk B24Hook': (address, key) => {
    const b24 = B24Hook.fromWebhookUrl(`${address}/rest/1/${key}`)
    b24.offClientSideWarning()
    return ofB24jssdk(b24)
  },

  'b24jssdk B24OAuth': (address, key) => {
    const authorization = {
      applicationToken: 'none',
      userId: 1,
      memberId: 'none',
      accessToken: key,
      refreshToken: 'none',
      expires: Math.floor(Date.now() / 1000) + 3600,
      expiresIn: 3600,
      scope: 'crm',
      domain: new URL(address).host,
      clientEndpoint: `${address}/rest/`,
      serverEndpoint: `${address}/rest/`,
      status: 'L'
    }
    const b24 = new B24OAuth(authorization, { clientId: 'local.client', clientSecret: 'secret' })
    b24.offClientSideWarning()
    let renewals = 0
    b24.setCustomRefreshAuth(async () => {
      renewals += 1
      throw new Error('the library renews a token by itself')
    })
    return { ...ofB24jssdk(b24), renewals: () => renewals }
  },

  '@2bad/bitrix': (address, key) => {
    const client = bitrix.default(`${address}/rest/1/${key}`)
    return {
      call: async () => (await client.call('user.current')).result.NAME,
      list: async () => {
        const { result } = await client.list('crm.deal.list', { filter: { '>ID': 0 } })
        return dealsOf(result)
      },
      batch: async () => {
        const { result } = await client.batch({
          me: { method: 'user.current' },
          deals: { method: 'crm.deal.list' }
        })
        return [result.result.me.NAME, result.result.deals.length]
      }
    }
  }
}

function ofB24jssdk(b24) {
  const data = (response) => {
    if (!response.isSuccess) {
      throw new Error(response.getErrorMessages().join('; '))
    }
    return response.getData()
  }
  const { call, callList, batch } = b24.actions.v2
  return {
    call: async () => data(await call.make({ method: 'user.current' })).result.NAME,
    list: async () => {
      const params = { filter: { '>ID': 0 }, select: ['ID'] }
      return dealsOf(data(await callList.make({ method: 'crm.deal.list', params })))
    },
    batch: async () => {
      const calls = { me: ['user.current', {}], deals: ['crm.deal.list', {}] }
      const options = { isHaltOnError: true, returnAjaxResult: false }
      const { me, deals } = data(await batch.make({ calls, options }))
      return [me.NAME, deals.length]
    },
    add: async () => data(await call.make({ method: 'crm.deal.add', params: added })).result,
    batch_add: async () => {
      const calls = { me: ['user.current', {}], deal: ['crm.deal.add', added] }
      const options = { isHaltOnError: true, returnAjaxResult: false }
      return data(await batch.make({ calls, options })).deal
    }
  }
}

const added = { fields: { TITLE: 'new' } }

/** The number of deals; one that comes twice or not at all is a page that went wrong. */
function dealsOf(deals) {
  if (new Set(deals.map((deal) => deal.ID)).size !== deals.length) {
    throw new Error('a deal came twice')
  }
  return deals.length
}

/** What a person sees: the error and those that led to it. */
function wholeStory(error) {
  const parts = []
  for (let next = error; next instanceof Error; next = next.cause) {
    const { code, status, response } = next
    const more = [code, status, response?.statusCode].filter((it) => it !== undefined)
    parts.push(`${next.name}: ${next.message} ${more.join(' ')}`)
  }
  return parts.join(' <- ')
}

const [client, address, key, ...steps] = process.argv.slice(2)
const made = CLIENTS[client](address, key)
for (const step of steps) {
  let line
  try {
    line = { step, ok: true, result: await made[step]() }
  } catch (error) {
    line = { step, ok: false, result: wholeStory(error) }
  }
  console.log(JSON.stringify(line))
}
// A library may keep timers for limits of its own.
process.exit(0)
